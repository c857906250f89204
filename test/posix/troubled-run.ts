/** Stands for run.ts in the test of the suite's runner: its second test hangs, its third kills the process. */
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  allowPositionals: true,
  options: { after: { type: 'string' }, entries: { type: 'string' } },
})
const started = (name: string): void => console.log(JSON.stringify({ started: name }))
const passed = (name: string): void => console.log(JSON.stringify({ name, outcome: 'passed', ms: 1 }))

if (values.after === undefined) {
  started('first')
  passed('first')
  started('hangs')
  setInterval(() => undefined, 1000)
} else if (values.after === 'hangs') {
  started('dies')
  setTimeout(() => process.kill(process.pid, 'SIGBUS'), 100)
} else {
  started('last')
  passed('last')
}
