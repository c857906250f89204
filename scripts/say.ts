/** Output of commands without control characters, which a terminal would interpret: a path in it may contain any. */
import { printable, printableLines } from '../core/printable.ts'

/** Prints a line on standard output. A line feed in a name begins no line. */
export const say = (line: string): void => console.log(printable(line))

/** Prints a text of several lines on standard output. */
export const sayLines = (text: string): void => console.log(printableLines(text))

/** Prints a message on standard error, which may have several lines. */
export const warn = (message: string): void => console.error(`zblkfs: ${printableLines(message)}`)
