/** What a command says to people: paths in it are anyone's choice, and a terminal obeys control characters. */
import { printable, printableLines } from '../core/printable.ts'

/** Prints a line on standard output. A line feed in a name begins no line. */
export const say = (line: string): void => console.log(printable(line))

/** Prints a message on standard error, which may have several lines. */
export const warn = (message: string): void => console.error(`zblkfs: ${printableLines(message)}`)
