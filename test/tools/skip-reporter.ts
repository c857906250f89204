/** A vitest reporter that ends a run with the names of the skipped tests, each with the reason. */
import { readFileSync } from 'node:fs'
import { relative } from 'node:path'
import type { Reporter, TestModule } from 'vitest/node'

/** A condition of `skipIf` or `runIf` and the title of what it is for, as far as that is a literal. */
const CONDITION =
  /\.(skipIf|runIf)\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)(?:\.each\([^)]*\))?\(\s*(['"`])(.*?)\3/g

/** Why a test is skipped, from the source of its file and the titles of the test and the suites that it is in. */
export function skipReason(source: string, titles: readonly string[]): string {
  const conditions = [...source.matchAll(CONDITION)].map(([, kind = '', condition = '', , title = '']) => ({
    title,
    text: `${kind === 'skipIf' ? 'skipped if' : 'run only if'} ${condition.replaceAll(/\s+/g, ' ')}`,
  }))
  const own = conditions.filter(({ title }) => titles.includes(title))
  const texts = new Set((own.length > 0 ? own : conditions).map(({ text }) => text))
  return texts.size === 0 ? 'no condition is given' : [...texts].join(', or ')
}

export default class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines = modules.flatMap(module => {
      const file = relative(process.cwd(), module.moduleId)
      const source = readFileSync(module.moduleId, 'utf8')
      return [...module.children.allTests('skipped')].map(test => {
        const titles = [test.name]
        for (let at = test.parent; at.type === 'suite'; at = at.parent) titles.push(at.name)
        const result = test.result()
        const note = result.state === 'skipped' ? result.note : undefined
        return `  ${file} > ${test.fullName}: ${note ?? skipReason(source, titles)}`
      })
    })
    if (lines.length > 0) console.log(`${lines.length} skipped:\n${lines.join('\n')}\n`)
  }
}
