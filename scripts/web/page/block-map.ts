/** A file's blocks as a map, coloured by when each was changed last. */
import { html } from 'htm/preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type * as Answers from '../answers.ts'
import { ageText, bytesText, pathValue, query, timeText } from './client.ts'
import { colour, useIsDark } from './colours.ts'
import { linkTo, useLoaded, type Place } from './state.ts'

const CELLS = 1024
const COLUMNS = 64
const CELL_PX = 12
/** Shades from new to old. */
const SHADES = 6

interface BlockMapProps {
  readonly place: Place
  readonly size: number
  readonly moment: string
}

export function BlockMap({ place, size, moment }: BlockMapProps): unknown {
  const loaded = useLoaded(
    signal => query('file', { path: pathValue(place.path), at: place.at, cells: CELLS }, signal),
    [place.path, moment],
  )
  if (size === 0) return null
  if (loaded.state === 'failed') return html`<p role="alert" class="failure">${loaded.reason}</p>`
  if (loaded.value === undefined) return html`<p>Reading the blocks ...</p>`
  return html`<section aria-labelledby="blocks">
    <h2 id="blocks">Blocks by age</h2>
    <${Grid} file=${loaded.value} place=${place} />
  </section>`
}

/** The arrow keys move over the cells, and Enter shows the file as it was then. */
function Grid({ file, place }: { file: Answers.FileDetails; place: Place }): unknown {
  const { cells, blksize } = file
  const [at, setAt] = useState(0)
  const isDark = useIsDark()
  const canvas = useRef<HTMLCanvasElement>(null)
  const rows = Math.max(1, Math.ceil(cells.length / COLUMNS))
  const times = cells.flatMap(({ time }) => (time === undefined ? [] : [time])).sort((a, b) => b - a)
  useEffect(() => {
    if (canvas.current !== null) draw(canvas.current, cells, times, at)
  }, [file, at, isDark])
  const move = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS }[event.key]
    if (step === undefined) return
    event.preventDefault()
    setAt(Math.max(0, Math.min(cells.length - 1, at + step)))
  }
  const point = (event: MouseEvent): void => {
    const box = canvas.current?.getBoundingClientRect()
    if (box === undefined) return
    const column = Math.floor(((event.clientX - box.left) / box.width) * COLUMNS)
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows)
    setAt(Math.max(0, Math.min(cells.length - 1, row * COLUMNS + column)))
  }
  const cell = cells[at]
  return html`
    <canvas
      ref=${canvas}
      width=${COLUMNS * CELL_PX}
      height=${rows * CELL_PX}
      tabindex="0"
      role="img"
      aria-label="The file's blocks; use the arrow keys"
      onKeyDown=${move}
      onClick=${point}
      onMouseMove=${point}
    ></canvas>
    <p class="legend">
      new ${Array.from({ length: SHADES }, (_, i) => html`<span class=${`shade shade-${i}`}></span>`)} old
      <span class="shade hole"></span> hole
    </p>
    <p aria-live="polite">
      ${cell !== undefined && html`<${CellText} cell=${cell} blksize=${blksize} place=${place} />`}
    </p>
  `
}

function CellText({ cell, blksize, place }: { cell: Answers.Cell; blksize: number; place: Place }): unknown {
  const { lo, hi, tid, time, isSampled } = cell
  const where = `${bytesText(lo * blksize)} to ${bytesText(hi * blksize)}: `
  if (tid === undefined || time === undefined) return `${where}a hole`
  const later = isSampled ? ' or later (not all of its blocks were read)' : ''
  return html`${where}changed ${ageText(time)}${later}, ${timeText(time)}.${' '}
    <a href=${linkTo({ ...place, at: tid })}>Show the file as of then</a>`
}

function draw(
  canvas: HTMLCanvasElement,
  cells: readonly Answers.Cell[],
  times: readonly number[],
  at: number,
): void {
  const context = canvas.getContext('2d')
  if (context === null) return
  const shades = Array.from({ length: SHADES }, (_, i) => colour(`shade-${i}`))
  const [hole, mark] = [colour('hole'), colour('ink')]
  context.clearRect(0, 0, canvas.width, canvas.height)
  for (const [i, { time }] of cells.entries()) {
    // By rank among the cells: a file that was written in one day and touched once a year later shows both.
    const rank = time === undefined ? undefined : Math.floor((times.indexOf(time) / times.length) * SHADES)
    context.fillStyle = rank === undefined ? hole : (shades[rank] ?? hole)
    context.fillRect((i % COLUMNS) * CELL_PX, Math.floor(i / COLUMNS) * CELL_PX, CELL_PX - 1, CELL_PX - 1)
  }
  context.strokeStyle = mark
  context.lineWidth = 2
  context.strokeRect((at % COLUMNS) * CELL_PX, Math.floor(at / COLUMNS) * CELL_PX, CELL_PX - 1, CELL_PX - 1)
}
