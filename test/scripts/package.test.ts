import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { runProgram } from '../tools/run-zblkfs.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TIMEOUT_MS = 300_000

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
      await writeFile(join(scratch, 'user', 'package.json'), '{ "private": true }')
      await run('cd user; npm install --silent --no-audit --no-fund --prefer-offline ../zblkfs-*.tgz')
      const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
        readonly version: string
      }
      // As on a Node that is too old: one line, and the installation ends.
      const old = await runProgram('bash', [
        '-c',
        `cd '${scratch}/user/node_modules/zblkfs' && sed -i 's/"node": ">=22.18"/"node": ">=99.1"/' package.json && '${process.execPath}' scripts/package/check-node.cjs`,
      ])
      expect(old).toMatchObject({ exitCode: 1, stdout: '' })
      expect(old.stderr).toMatch(
        /^zblkfs needs Node 99\.1 or later, and this is v\d+\.\d+\.\d+: nothing is installed; .*\n$/,
      )
      await run(
        `cd user/node_modules/zblkfs; sed -i 's/>=99.1/>=22.18/' package.json; node scripts/package/check-node.cjs`,
      )
      const zblkfs = 'user/node_modules/.bin/zblkfs'
      expect(await run(`${zblkfs} --version`)).toBe(`${version}\n`)
      const output = await run(
        `mkdir mnt; ${zblkfs} mount x.zblk mnt; trap "umount -l mnt 2> /dev/null || true" EXIT
         ${zblkfs} web mnt > url & sleep 3
         for asset in '' app/main.js app/style.css lib/preact.js lib/uplot.css api/info; do
           node -e "fetch(process.argv[1]).then(r => { if (!r.ok) throw new Error(r.url) })" "$(cat url)$asset" || exit 1
         done
         kill $!; echo kept > mnt/file; ${zblkfs} umount mnt; ${zblkfs} mount x.zblk mnt; cat mnt/file; ${zblkfs} umount mnt`,
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
