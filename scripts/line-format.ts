/** How commands print lines: readable text, with `-z` every byte of names for programs, or JSON. */
import { styleText } from 'node:util'
import { bytesOf } from '../store/os-text.ts'
import type { Command } from 'commander'
import { printable, printablePath } from '../core/printable.ts'

export interface LineOptions {
  readonly zero?: boolean
  readonly json?: boolean
}

export type Colour = 'green' | 'red' | 'cyan' | 'yellow' | 'magenta'

/** Turns names and messages into parts of a line. */
export interface LineFormat {
  /** A stored name or path, which has one character per byte. */
  readonly name: (stored: string) => string
  readonly text: (text: string) => string
  /** A line of a patch. */
  readonly patch: (bytes: Buffer) => string
  /** Colours a text on a terminal, unless NO_COLOR is set. */
  readonly colour: (colour: Colour, text: string) => string
  /** Whether lines have one character per byte, and end in NUL. */
  readonly isRaw: boolean
}

const colour = (colour: Colour, text: string): string => styleText(colour, text)

const READABLE: LineFormat = {
  name: printablePath,
  text: printable,
  patch: bytes => {
    const line = bytes.toString('utf8')
    const text = process.stdout.isTTY ? printable(line.replaceAll('\t', '        ')) : line
    const shade = PATCH_COLOURS[line.charAt(0)]
    return shade === undefined ? text : colour(shade, text)
  },
  colour,
  isRaw: false,
}

const PATCH_COLOURS: Readonly<Record<string, Colour>> = { '+': 'green', '-': 'red', '@': 'cyan' }

const RAW: LineFormat = {
  name: stored => stored || '/',
  text: text => bytesOf(text).toString('latin1'),
  patch: bytes => bytes.toString('latin1'),
  colour: (_, text) => text,
  isRaw: true,
}

export const lineFormat = ({ zero = false, json = false }: LineOptions): LineFormat =>
  zero && !json ? RAW : READABLE

/** Adds `-z` and `--json`. */
export const withLineOptions = (command: Command, json: string): Command =>
  command
    .option('-z, --zero', 'end lines with NUL instead of newline, and print names and messages as they are')
    .option('--json', json)
