/** `zblkfs web`, by HTTP and in a real browser. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { appendFile, mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium, type Browser, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { withMount, type TestMount } from '../tools/mounted.ts'
import { runProgram, ZBLKFS, zblkfsOutput } from '../tools/run-zblkfs.ts'

const ROOT = join(import.meta.dirname, '../..')
const TIMEOUT_MS = 120_000
const CHROMIUM = '/usr/bin/chromium'

const AXE = readFileSync(join(ROOT, 'node_modules/axe-core/axe.min.js'), 'utf8')

/** Of axe-core, which runs in the page alone. */
interface AxeResults {
  readonly violations: readonly {
    readonly id: string
    readonly nodes: readonly { readonly html: string }[]
  }[]
  readonly passes: readonly unknown[]
}

/** The rules of axe-core (WCAG and best practices) that a page breaks, in light and in dark. */
async function brokenRules(page: Page): Promise<readonly string[]> {
  await page.evaluate(AXE)
  const found: string[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    const { violations, passes } = await page.evaluate<AxeResults>('axe.run()')
    expect(passes.length).toBeGreaterThan(10)
    for (const { id, nodes } of violations)
      found.push(...nodes.map(({ html }) => `${colorScheme}: ${id}: ${html}`))
  }
  return found
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Sends a request; fetch would set the headers that are tested. */
async function send(
  url: string | URL,
  {
    method = 'GET',
    headers = {},
    body = '',
  }: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const sent = request(url, { method, headers })
  sent.end(body)
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: Buffer.concat(chunks).toString('utf8'),
  }
}

const { promise: isOver, resolve: end } = Promise.withResolvers<void>()
let mounted: Promise<void>
let mount: TestMount
let server: ChildProcess
let url: string
const tids: string[] = []

beforeAll(async () => {
  await new Promise<void>((resolve, reject) => {
    mounted = withMount({}, async fresh => {
      mount = fresh
      resolve()
      await isOver
    })
    mounted.catch(reject)
  })
  const { dir } = mount
  await mkdir(join(dir, 'docs'))
  await writeFile(join(dir, 'docs', 'notes.txt'), 'one\ntwo\nthree\n')
  await writeFile(Buffer.concat([Buffer.from(`${dir}/odd-`), Buffer.from([0xff])]), 'odd')
  await truncate(join(dir, 'docs', 'notes.txt'), 14)
  await writeFile(join(dir, 'sparse'), 'x')
  await truncate(join(dir, 'sparse'), 2 ** 40)
  tids.push((await zblkfsOutput('sync', dir, '-m', 'the first state')).trim())
  await writeFile(join(dir, 'docs', 'notes.txt'), 'one\n2\nthree\nfour\n')
  tids.push((await zblkfsOutput('sync', dir, '-m', 'an edit')).trim())
  await appendFile(join(dir, 'docs', 'notes.txt'), '<script>alert(1)</script>\n')
  tids.push((await zblkfsOutput('sync', dir, '-m', 'the last state')).trim())
  server = spawn(ZBLKFS, ['web', dir], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(server.stdout!.setEncoding('utf8'), 'data')) as [string]
  url = line.trim()
}, TIMEOUT_MS)

afterAll(async () => {
  const ended = once(server, 'exit')
  server.kill('SIGTERM')
  expect((await ended)[0]).toBe(0)
  end()
  await mounted
}, TIMEOUT_MS)

test(
  'the types of the page hold',
  async () => {
    const tsc = join(ROOT, 'node_modules/.bin/tsc')
    const { exitCode, stdout } = await runProgram(tsc, ['-p', join(ROOT, 'scripts/web/page')], TIMEOUT_MS)
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' })
  },
  TIMEOUT_MS,
)

describe('the server', () => {
  test('answers only requests with its token and host', async () => {
    expect((await send(url)).status).toBe(200)
    const { origin, port } = new URL(url)
    for (const path of ['/', '/api/info', '/wrong-token/api/info', `/${'a'.repeat(32)}/`])
      expect((await send(`${origin}${path}`)).status, path).toBe(404)
    for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1'])
      expect((await send(url, { headers: { Host: host } })).status, host).toBe(403)
    expect((await send(url, { headers: { Host: `localhost:${port}` } })).status).toBe(200)
  })

  test('listens on 127.0.0.1 alone', async () => {
    const { port } = new URL(url)
    const { stdout } = await runProgram('ss', ['-Hltn', `sport = :${port}`], TIMEOUT_MS)
    expect(stdout.trim().split('\n')).toHaveLength(1)
    expect(stdout).toContain(`127.0.0.1:${port}`)
  })

  test('forbids external resources and framing of the page', async () => {
    const policy = String((await send(url)).headers['content-security-policy'])
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toMatch(/https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline/)
  })

  test('refuses changes requested by another site', async () => {
    const target = new URL('change/tag', url)
    const body = JSON.stringify({ name: 'forged', at: tids[0] })
    const own = { Origin: new URL(url).origin, 'Content-Type': 'application/json' }
    for (const [headers, status] of [
      [{ 'Content-Type': 'application/json' }, 403],
      [{ ...own, Origin: 'http://evil.example' }, 403],
      [{ ...own, Origin: 'null' }, 403],
      [{ ...own, 'Content-Type': 'text/plain' }, 415],
    ] as const)
      expect((await send(target, { method: 'POST', headers, body })).status).toBe(status)
    expect((await send(target, { method: 'GET' })).status).toBe(404)
    expect(await zblkfsOutput('tag', '-l', '--db', mount.dir)).not.toContain('forged')
    expect((await send(target, { method: 'POST', headers: own, body: '{' })).status).toBe(400)
    const bad = await send(target, { method: 'POST', headers: own, body: '{"name":7}' })
    expect(bad.status).toBe(400)
    expect(bad.body).toContain("'name' is missing")
  })

  test('shows a file as an image or as sandboxed text, or offers it for download', async () => {
    const raw = new URL('raw', url)
    raw.searchParams.set('path', JSON.stringify('/docs/notes.txt'))
    const shown = await send(raw)
    expect(shown.headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(shown.headers['content-security-policy']).toBe("default-src 'none'; sandbox")
    expect(shown.headers['x-content-type-options']).toBe('nosniff')
    raw.searchParams.set('at', tids[0]!)
    raw.searchParams.set('download', '1')
    const saved = await send(raw)
    expect(saved.headers['content-disposition']).toBe("attachment; filename*=UTF-8''notes.txt")
    expect(saved.body).toBe('one\ntwo\nthree\n')
  })

  test('reports bad requests and keeps serving', async () => {
    for (const [path, status] of [
      ['api/nothing', 404],
      ['app/../server.ts', 404],
      ['app/..%2fserver.ts', 404],
      ['lib/other.js', 404],
      ['api/list?path=%22%2Fnowhere%22', 400],
      ['api/list?path=plain', 400],
      ['api/list?at=zz', 400],
      ['api/timeline?count=x', 400],
      ['api/diff?a=now', 400],
      ['raw?path=%22%2Fdocs%22', 404],
    ] as const)
      expect((await send(`${url}${path}`)).status, path).toBe(status)
    expect((await send(url)).status).toBe(200)
  })

  test('names that are not UTF-8 are listed and open their files', async () => {
    const { entries } = JSON.parse((await send(new URL('api/list', url))).body) as {
      entries: { name: string }[]
    }
    const odd = entries.find(({ name }) => name.startsWith('odd-'))
    const raw = new URL('raw', url)
    raw.searchParams.set('path', JSON.stringify(`/${odd?.name ?? ''}`))
    expect((await send(raw)).body).toBe('odd')
  })

  test('the map of a file of any length has the requested number of cells', async () => {
    const file = new URL('api/file', url)
    file.searchParams.set('path', JSON.stringify('/sparse'))
    file.searchParams.set('cells', '100')
    const { size, cells } = JSON.parse((await send(file)).body) as { size: number; cells: { tid?: string }[] }
    expect(size).toBe(2 ** 40)
    expect(cells).toHaveLength(100)
    expect(cells.map(({ tid }) => tid).filter(Boolean)).toEqual([tids[0]])
  })
})

describe('in a browser', () => {
  let browser: Browser
  let page: Page
  const problems: string[] = []

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
    page = await browser.newPage()
    page.on('pageerror', error => problems.push(error.message))
    page.on('console', message => {
      const isAnswer = message.text().startsWith('Failed to load resource')
      if (message.type() === 'error' && !isAnswer) problems.push(message.text())
    })
    page.on('request', sent => {
      if (!sent.url().startsWith(url) && !sent.url().startsWith('data:')) problems.push(sent.url())
    })
    page.on('response', answer => {
      const isAsked = answer.request().method() === 'POST' || answer.url().includes('no-such-tag')
      if (!answer.ok() && !isAsked) problems.push(`${answer.status()} ${answer.url()}`)
    })
    await page.goto(url)
  }, TIMEOUT_MS)
  afterAll(async () => {
    await browser.close()
    expect(problems).toEqual([])
  })

  test('the history lists the transactions, their changes and changed lines', async () => {
    const row = page.getByRole('row').filter({ hasText: 'an edit' })
    await row.getByRole('button', { name: 'Changes' }).click()
    await page.getByRole('button', { name: 'Lines' }).click()
    const lines = page.locator('pre.lines')
    await lines.waitFor()
    expect(await lines.locator('.removed').allInnerTexts()).toEqual(['--- a/docs/notes.txt\n', '-two\n'])
    expect(await lines.locator('.added').allInnerTexts()).toEqual([
      '+++ b/docs/notes.txt\n',
      '+2\n',
      '+four\n',
    ])
    expect(await page.getByRole('img', { name: /Bytes stored over time/ }).count()).toBe(1)
  })

  test('the timeline, which reads all transactions, does not delay the list of the newest', async () => {
    const order: string[] = []
    await page.route('**/api/{log,timeline}*', async route => {
      const name = new URL(route.request().url()).pathname.split('/').at(-1) ?? ''
      order.push(name)
      if (name === 'log') await sleep(300)
      order.push(`${name} is answered`)
      await route.continue()
    })
    await page.reload()
    await page.getByRole('img', { name: /Bytes stored over time/ }).waitFor()
    await page.unroute('**/api/{log,timeline}*')
    expect(order.slice(0, 3)).toEqual(['log', 'log is answered', 'timeline'])
  })

  test('a past version of a file is shown, and restored by keyboard alone', async () => {
    await page
      .getByRole('row')
      .filter({ hasText: 'the first state' })
      .getByRole('link', { name: 'Browse' })
      .press('Enter')
    await page.getByRole('link', { name: 'docs/' }).press('Enter')
    await page.getByRole('link', { name: 'notes.txt' }).press('Enter')
    await page.locator('pre.preview').waitFor()
    expect(await page.locator('pre.preview').innerText()).toBe('one\ntwo\nthree\n')
    await page.getByRole('button', { name: 'Restore ...' }).press('Enter')
    const dialog = page.getByRole('dialog')
    expect(await dialog.innerText()).toContain('becomes what it was after transaction')
    expect(await readFile(join(mount.dir, 'docs', 'notes.txt'), 'utf8')).toContain('four')
    await dialog.getByRole('button', { name: 'Restore' }).press('Enter')
    await page.getByRole('status').filter({ hasText: 'Restored in transaction' }).waitFor()
    expect(await readFile(join(mount.dir, 'docs', 'notes.txt'), 'utf8')).toBe('one\ntwo\nthree\n')
  })

  test('a change that fails is reported in its dialog, and a cancelled one changes nothing', async () => {
    await page.getByRole('link', { name: 'History' }).first().click()
    const row = page.getByRole('row').filter({ hasText: 'the first state' })
    await row.getByRole('button', { name: 'Tag ...' }).click()
    await page.getByLabel('Name').fill('first')
    await page.getByRole('button', { name: 'Tag', exact: true }).click()
    await page.getByRole('status').filter({ hasText: 'Tagged first' }).waitFor()
    await row.getByRole('button', { name: 'Tag ...' }).click()
    await page.getByLabel('Name').fill('bad/name')
    await page.getByRole('button', { name: 'Tag', exact: true }).click()
    await page.getByRole('alert').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    expect((await zblkfsOutput('tag', '-l', '--db', mount.dir)).trim().split('\n')).toHaveLength(1)
  })

  test('a file is compared with any other moment, by tag, age or transaction', async () => {
    await page.goto(`${url}#files?path=%22%2Fdocs%2Fnotes.txt%22&at=${tids[0]}`)
    await page.getByRole('button', { name: 'Compare ...' }).click()
    const other = page.getByLabel('Compare with')
    expect(await other.inputValue()).toBe('now')
    await other.fill(tids[1]!)
    await other.press('Enter')
    const found = page.getByRole('region', { name: 'Differences' })
    await found.getByRole('button', { name: 'Lines' }).click()
    await found.locator('.added').first().waitFor()
    expect(await found.locator('.added').allInnerTexts()).toEqual([
      '+++ b/docs/notes.txt\n',
      '+2\n',
      '+four\n',
    ])
    expect(await found.innerText()).toMatch(/^From the moment shown \(\w{16}\) to \w+ \d.* \(\w{16}\):/)
    await other.fill('first')
    await other.press('Enter')
    await found.getByText('No difference.').waitFor()
    await other.fill('no-such-tag')
    await other.press('Enter')
    await page.getByRole('alert').filter({ hasText: 'no-such-tag' }).waitFor()
    await page.getByRole('button', { name: 'Tag ...' }).click()
    await page.getByText(`The state after transaction ${tids[0]} gets a name`).waitFor()
    await page.keyboard.press('Escape')
  })

  test('a file with control characters has no preview', async () => {
    await writeFile(join(mount.dir, 'control'), '\u0001'.repeat(100))
    await page.goto(url)
    await page.getByRole('link', { name: 'Files', exact: true }).click()
    await page.getByRole('link', { name: 'control' }).click()
    await page.getByText('No preview').waitFor()
  })

  test('the map of a 1 TiB file and the views of space and mount are shown', async () => {
    await page.getByRole('link', { name: 'Files', exact: true }).click()
    await page.getByRole('link', { name: 'root' }).click()
    const present = page.getByRole('link', { name: 'Show the present' })
    if (await present.isVisible()) await present.click()
    await page.getByRole('link', { name: 'sparse' }).click()
    const map = page.getByRole('img', { name: /blocks/ })
    await map.press('ArrowRight')
    await page.getByText(/a hole/).waitFor()
    await map.press('ArrowLeft')
    await page.getByText(/: changed \S.*\S, \w+ \d/).waitFor()
    await page.getByRole('link', { name: 'Space', exact: true }).click()
    await page.getByRole('cell', { name: '/sparse' }).waitFor()
    await page.getByText(/are\s+free\. The history shows/).waitFor()
    await page.getByRole('link', { name: 'Live', exact: true }).click()
    await page.getByRole('img', { name: /resident/ }).waitFor()
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.getByRole('img', { name: /resident/ }).waitFor()
  })

  test.each([
    ['the history', 'history', 'Transactions', undefined],
    ['a transaction with its changes', 'history', 'Transactions', 'Changes'],
    ['a question', 'history', 'Transactions', 'Tag ...'],
    ['a directory', 'files', 'docs/', undefined],
    ['a file', 'files?path=%22%2Fdocs%2Fnotes.txt%22', 'Blocks by age', undefined],
    ['the space', 'space', 'Largest files', undefined],
    ['the mount', 'live', 'Memory', undefined],
  ])('axe-core finds no fault in %s, light or dark', async (_what, fragment, text, button) => {
    await page.goto('about:blank')
    await page.goto(`${url}#${fragment}`)
    await page.getByText(text).first().waitFor()
    if (button !== undefined) {
      const row = page.getByRole('row').filter({ hasText: 'an edit' })
      await row.getByRole('button', { name: button }).click()
      await page
        .getByText(button === 'Changes' ? 'Lines' : 'Name')
        .first()
        .waitFor()
    }
    expect(await brokenRules(page)).toEqual([])
  })
})
