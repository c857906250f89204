/** A uPlot in the page's colours, as wide as its element. */
import { html } from 'htm/preact'
import { useEffect, useRef } from 'preact/hooks'
import UPlot from 'uplot'
import { colour, useIsDark } from './colours.ts'

const HEIGHT = 160
/** Distances of ticks on the axis of bytes. */
const POWERS = Array.from({ length: 60 }, (_, i) => 2 ** i)

export interface PlotProps {
  /** The x values, in seconds since 1970, then each series. */
  readonly data: readonly (readonly (number | null)[])[]
  readonly series: readonly { readonly label: string; readonly format: (value: number) => string }[]
  /** Called with the times of a range that was selected with the mouse, in milliseconds. */
  readonly onSelect?: (from: number, to: number) => void
  readonly kind: 'bars' | 'line'
  /** What the plot shows, for screen readers. */
  readonly label: string
}

export function Plot({ data, series, onSelect, kind, label }: PlotProps): unknown {
  const element = useRef<HTMLDivElement>(null)
  const isDark = useIsDark()
  useEffect(() => {
    const parent = element.current
    if (parent === null) return undefined
    const [ink, grid] = [colour('muted'), colour('line')]
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } }
    const bars = UPlot.paths.bars?.({ size: [1, 40], align: 1 })
    const first = series[0]
    const plot = new UPlot(
      {
        width: parent.clientWidth,
        height: HEIGHT,
        cursor: { drag: { x: onSelect !== undefined, y: false } },
        axes: [
          axis,
          {
            ...axis,
            size: 70,
            incrs: POWERS,
            values: (_: UPlot, ticks: number[]) => ticks.map(v => first?.format(v) ?? ''),
          },
        ],
        series: [
          {},
          ...series.map(({ label, format }, i) => ({
            label,
            stroke: colour(`series-${i + 1}`),
            fill: kind === 'bars' ? colour(`series-${i + 1}`) : '',
            points: { show: false },
            ...(kind === 'bars' && bars !== undefined && { paths: bars }),
            value: (_: UPlot, value: number | null) => (value === null ? '' : format(value)),
          })),
        ],
        hooks: {
          setSelect: [
            (plot: UPlot) => {
              const { left, width } = plot.select
              if (width === 0 || onSelect === undefined) return
              onSelect(plot.posToVal(left, 'x') * 1000, plot.posToVal(left + width, 'x') * 1000)
            },
          ],
        },
      },
      data as UPlot.AlignedData,
      parent,
    )
    const resized = new ResizeObserver(() => plot.setSize({ width: parent.clientWidth, height: HEIGHT }))
    resized.observe(parent)
    return () => {
      resized.disconnect()
      plot.destroy()
    }
  }, [data, isDark])
  return html`<div class="plot" role="img" aria-label=${label} ref=${element}></div>`
}
