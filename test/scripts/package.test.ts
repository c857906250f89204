import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { runProgram, type CommandResult } from '../tools/run-zblkfs.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TIMEOUT_MS = 600_000

test(
  'npm pack makes a compiled package, without sources, that installs and mounts',
  async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-package-'))
    const run = async (command: string): Promise<string> => {
      const { exitCode, stdout, stderr } = await runProgram(
        'bash',
        ['-ec', `cd '${scratch}'; ${command}`],
        TIMEOUT_MS,
      )
      expect(`${exitCode}: ${stderr}`).toMatch(/^0: /)
      return stdout
    }
    try {
      // Packed from a copy, because packing compiles into the directory that is packed.
      await mkdir(join(scratch, 'copy'))
      await run(
        `cd '${ROOT}'; cp -r index.ts scripts mount core store docs examples package.json tsconfig*.json README.md LICENSE CHANGELOG.md '${scratch}/copy'; ` +
          `ln -s '${ROOT}/node_modules' '${scratch}/copy/node_modules'`,
      )
      const files = await run('cd copy; npm pack --silent --pack-destination .. >&2; tar tzf ../zblkfs-*.tgz')
      expect(files).toContain('package/dist/scripts/main.js\n')
      expect(files).toContain('package/scripts/zblkfs\n')
      expect(files).toContain('package/dist/index.d.ts\n')
      expect(files).toContain('package/dist/scripts/web/page/main.js\n')
      expect(files).toContain('package/dist/man/zblkfs-mount.1\n')
      const { size } = await stat(join(scratch, (await run('ls zblkfs-*.tgz')).trim()))
      expect(size).toBeLessThan(900_000)
      expect(files).not.toMatch(/dist\/.*(?<!\.d)\.ts\n|node_modules|test\//)

      await mkdir(join(scratch, 'user'))
      await run('npm install -g --prefix user --silent --no-audit --no-fund --prefer-offline ./zblkfs-*.tgz')
      // Every page, as `man` finds it.
      const pages = await run('cd user/share/man/man1; ls; test -s zblkfs-mount.1')
      expect(pages).toBe(await run('ls user/lib/node_modules/zblkfs/dist/man'))
      const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
        readonly version: string
      }
      // npm would warn of install scripts.
      const scripts = `grep -lE '"(pre|post)?install":' */package.json @*/*/package.json || true`
      expect(await run(`cd user/lib/node_modules/zblkfs/node_modules; ${scripts}`)).toBe('')
      const zblkfs = 'user/bin/zblkfs'
      expect(await run(`${zblkfs} --version`)).toBe(`${version}\n`)
      const output = await run(
        `mkdir mnt; ${zblkfs} mount x.zblk mnt; trap 'kill $web 2> /dev/null || true; umount -l mnt 2> /dev/null || true' EXIT
         ${zblkfs} web mnt > url & web=$!
         until [ -s url ]; do kill -0 $web; sleep 0.2; done
         for asset in '' app/main.js app/style.css lib/preact.js lib/uplot.css api/info; do
           node -e "fetch(process.argv[1]).then(r => { if (!r.ok) throw new Error(r.url) })" "$(cat url)$asset" || exit 1
         done
         kill $web; echo kept > mnt/file; ${zblkfs} umount mnt; ${zblkfs} mount x.zblk mnt; cat mnt/file; ${zblkfs} umount mnt`,
      )
      expect(output).toMatch(
        /^x\.zblk is mounted at mnt\n.*all is stored.*\n.* at mnt\nkept\n.*all is stored/s,
      )
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
  },
  TIMEOUT_MS,
)

test(
  'on a Node that is too old npm chooses the version that says so, and the installation ends',
  async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-old-node-'))
    const registry = createServer((request, response) => {
      const [path = ''] = (request.url ?? '').split('?')
      const body = answers.get(path)
      response.writeHead(body === undefined ? 404 : 200).end(body)
    })
    const answers = new Map<string, string | Buffer>()
    try {
      registry.listen(0, '127.0.0.1')
      await once(registry, 'listening')
      const { port } = registry.address() as AddressInfo
      const url = `http://127.0.0.1:${port}`
      /** Publishes both versions as if zblkfs needed `minimum`, and installs the one that npm chooses. */
      const install = async (minimum: string): Promise<CommandResult> => {
        const copy = join(scratch, minimum)
        await mkdir(join(copy, 'real'), { recursive: true })
        await mkdir(join(copy, 'scripts/package'), { recursive: true })
        await cp(join(ROOT, 'scripts/package/old-node.ts'), join(copy, 'scripts/package/old-node.ts'))
        const metadata = { name: 'zblkfs', version: '0.1.0', license: 'x', engines: { node: `>=${minimum}` } }
        for (const place of [copy, join(copy, 'real')])
          await writeFile(join(place, 'package.json'), JSON.stringify(metadata))
        const packed = await runProgram('sh', [
          '-ec',
          `cd '${copy}'; '${process.execPath}' scripts/package/old-node.ts; cd real; npm pack --silent --pack-destination ..`,
        ])
        expect(packed).toMatchObject({ stdout: 'zblkfs-0.0.1.tgz\nzblkfs-0.1.0.tgz\n', exitCode: 0 })
        const versions: Record<string, unknown> = {}
        for (const [version, range] of [
          ['0.0.1', `<${minimum}`],
          ['0.1.0', `>=${minimum}`],
        ] as const) {
          const tarball = `/zblkfs-${version}-${minimum}.tgz`
          answers.set(tarball, await readFile(join(copy, `zblkfs-${version}.tgz`)))
          versions[version] = {
            name: 'zblkfs',
            version,
            engines: { node: range },
            ...(version === '0.0.1' && { hasInstallScript: true }),
            dist: { tarball: `${url}${tarball}` },
          }
        }
        const tags = { latest: '0.1.0', 'old-node': '0.0.1' }
        answers.set('/zblkfs', JSON.stringify({ name: 'zblkfs', 'dist-tags': tags, versions }))
        const options = `--prefix '${copy}/installed' --registry ${url}/ --cache '${copy}/cache' --no-audit --no-fund`
        return await runProgram('sh', [
          '-c',
          `mkdir -p '${copy}/installed'; npm install -g ${options} zblkfs`,
        ])
      }
      const old = await install('99.1')
      expect(old.exitCode).toBe(1)
      expect(old.stderr).toMatch(
        /zblkfs needs Node 99\.1 or later, and this is v\d+\.\d+\.\d+: nothing is installed; .*/,
      )
      expect(old.stderr).not.toContain('EBADENGINE')
      expect(await install('18.1')).toMatchObject({ exitCode: 0, stderr: '' })
    } finally {
      registry.close()
      await rm(scratch, { recursive: true, force: true })
    }
  },
  TIMEOUT_MS,
)
