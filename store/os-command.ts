/** Programs and their arguments as bytes: texts as os-text.ts has them. */
import { readFileSync } from './os-files.ts'
import { bytesOf, isOdd, textOf } from './os-text.ts'

/** A program and its arguments as Node can start them, with the same bytes. */
export function startable(command: readonly string[]): readonly string[] {
  const variables = oddVariables()
  if (!command.some(isOdd) && variables.length === 0) return command
  // The shell decodes what Node cannot pass on, and then becomes the program.
  const words = command.map((_, index) => `"$w${index}"`)
  const script = [
    ...command.map((word, index) => assign(`w${index}`, word)),
    ...variables.map(([name, value]) => `${assign(name, value)}; export ${name}`),
    `exec ${words.join(' ')}`,
  ]
  return ['sh', '-c', script.join('\n')]
}

/** A command substitution drops newlines at the end: an `x` behind them is cut off afterwards. */
function assign(variable: string, text: string): string {
  const octal = [...bytesOf(text)].map(byte => `\\${byte.toString(8).padStart(3, '0')}`).join('')
  return `${variable}=$(printf '${octal}x'); ${variable}=\${${variable}%x}`
}

/** The variables of the environment whose values Node cannot pass on. */
function oddVariables(): readonly (readonly [name: string, value: string])[] {
  if (!Object.values(process.env).some(value => value?.includes('\ufffd'))) return []
  return splitAtNul(readFileSync('/proc/self/environ')).flatMap(entry => {
    const [name = '', ...value] = entry.split('=')
    return isOdd(entry) && /^[A-Za-z_]\w*$/.test(name) ? [[name, value.join('=')] as const] : []
  })
}

/** The texts in bytes that end in NUL each, as the kernel lists arguments and variables. */
export function splitAtNul(bytes: Buffer): string[] {
  const texts: string[] = []
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(0, from)
    texts.push(textOf(bytes.subarray(from, end < 0 ? bytes.length : end)))
    from = end < 0 ? bytes.length : end + 1
  }
  return texts
}
