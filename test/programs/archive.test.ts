/** tar, rsync and cp carry a tree with all that it has onto a mount and back. */
import { describe, expect, it } from 'vitest'
import { withPlace } from './place.ts'
import { describeTree, has, sh } from './program.ts'

/** A tree with links, holes, attributes, times to the nanosecond, owners, and names that need quoting. */
const MAKE_TREE = `
  mkdir -p plain/deep/deeper empty 'odd names'
  for i in $(seq 1 40); do head -c $((i * 1237)) /dev/urandom > plain/file-$i; done
  head -c 5000000 /dev/urandom > plain/large
  truncate -s 64M sparse && printf data | dd of=sparse bs=1 seek=35000000 conv=notrunc status=none
  ln plain/file-1 plain/deep/hard && ln plain/file-1 hard-too
  ln -s plain/file-2 symlink && ln -s nowhere/at/all dangling && ln -s /etc/hostname absolute
  touch 'odd names/ two  spaces ' 'odd names/new
line' "odd names/\\xff" 'odd names/-rf' 'odd names/ümläut'
  mkfifo fifo
  chmod 4751 plain/file-3 && chmod 2755 plain/deep && chmod 1777 empty && chmod 000 plain/file-4
  chown 1234:4321 plain/file-5 && chown -h 77:88 symlink
  setfattr -n user.note -v 'a value' plain/file-6 && setfattr -n user.binary -v 0x00ff10 plain/deep
  touch -d '2001-02-03 04:05:06.789012345' plain/file-7 && touch -d '1969-12-31 23:59:58.5 UTC' plain/file-8
  touch -h -d '2011-11-11 11:11:11.111111111' symlink
  touch -d '2005-05-05 05:05:05.050505050' plain/deep/deeper plain/deep plain empty`

const COPIES = [
  {
    program: 'tar',
    copy: (from: string, to: string) => `tar -C ${from} --xattrs -Scf - . | tar -C ${to} --xattrs -xpf -`,
  },
  {
    program: 'rsync',
    copy: (from: string, to: string) => `rsync -aHXS --checksum --modify-window=-1 ${from}/ ${to}/`,
  },
  { program: 'cp', copy: (from: string, to: string) => `cp -a --sparse=always ${from}/. ${to}/` },
]

const attributes = (dir: string): Promise<string> =>
  sh(`find . -not -type l -not -type p -print0 | sort -z | xargs -0 getfattr -d -m '^user'`, { cwd: dir })
const blocks = async (path: string): Promise<number> => Number(await sh(`stat -c %b ${path}`))

describe.skipIf(process.getuid?.() !== 0 || !has('setfattr'))('archives', () => {
  it.each(COPIES.filter(({ program }) => has(program)))(
    '$program preserves everything in a round trip',
    async ({ copy }) => {
      await withPlace(async ({ dir, scratch, remount }) => {
        const [host, there, back] = [`${scratch}/host`, `${dir}/there`, `${scratch}/back`]
        await sh(`mkdir ${host} ${there} ${back} && cd ${host} && ${MAKE_TREE}`)
        const expected = await describeTree(host)
        await sh(copy(host, there))
        expect(await describeTree(there)).toBe(expected)
        await remount()
        expect(await describeTree(there)).toBe(expected)
        expect(await attributes(there)).toBe(await attributes(host))
        expect(await blocks(`${there}/sparse`)).toBeLessThan(10_000)
        expect(
          await sh(`stat -c %i plain/file-1 plain/deep/hard hard-too | uniq | wc -l`, { cwd: there }),
        ).toBe('1')
        await sh(copy(there, back))
        expect(await describeTree(back)).toBe(expected)
        expect(await attributes(back)).toBe(await attributes(host))
      })
    },
  )

  it.skipIf(!has('rsync'))('rsync finds no difference after a copy, and copies only changes', async () => {
    await withPlace(async ({ dir, scratch }) => {
      const [host, there] = [`${scratch}/host`, `${dir}/there`]
      await sh(`mkdir ${host} ${there} && cd ${host} && ${MAKE_TREE}`)
      const sync = `rsync -aHXS --itemize-changes --delete ${host}/ ${there}/`
      await sh(sync)
      expect(await sh(`${sync} --checksum`)).toBe('')
      await sh(`echo more >> plain/file-9 && rm plain/file-10 && mkdir new`, { cwd: host })
      const changes = await sh(`${sync} --modify-window=-1`)
      expect(
        changes
          .split('\n')
          .filter(line => !line.startsWith('.'))
          .sort(),
      ).toEqual(['*deleting   plain/file-10', '>f.st...... plain/file-9', 'cd+++++++++ new/'])
    })
  })
})
