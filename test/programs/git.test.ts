/** git on a mount: clone, work, push, gc and fsck give what they give on the host. */
import { describe, expect, it } from 'vitest'
import { withPlace } from './place.ts'
import { describeTree, has, sh } from './program.ts'

const NAMED = {
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@a',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@a',
}
const FIXED = {
  ...NAMED,
  GIT_AUTHOR_DATE: '2020-01-01T00:00:00Z',
  GIT_COMMITTER_DATE: '2020-01-01T00:00:00Z',
}
const git = (cwd: string, command: string): Promise<string> => sh(`git ${command}`, { cwd, env: FIXED })

/** A repository with some history: 20 commits, a branch, a tag, a symlink, an executable. */
const MAKE_REPOSITORY = `
  git init -q -b main .
  for commit in $(seq 1 20); do
    mkdir -p dir-$((commit % 4))
    for file in $(seq 1 15); do
      head -c $((commit * file * 97)) < <(yes "line $commit $file") > dir-$((commit % 4))/file-$file
    done
    git add . && git commit -q -m "commit $commit"
  done
  ln -s dir-1/file-1 link && printf '#!/bin/sh\\n' > run && chmod +x run && git add . && git commit -q -m links
  git branch side HEAD~10 && git tag -a -m tagged v1 HEAD~5`

describe.skipIf(!has('git'))('git', () => {
  it('clones, commits, pushes, repacks and passes git fsck', async () => {
    await withPlace(async ({ dir, scratch, remount }) => {
      await sh(`mkdir host && cd host && ${MAKE_REPOSITORY}`, { cwd: scratch, env: FIXED })
      await git(dir, `clone -q --bare ${scratch}/host bare.git`)
      await git(dir, 'clone -q bare.git work')
      await git(scratch, 'clone -q host host-clone')
      const without = ['.git']
      expect(await describeTree(`${dir}/work`, { times: false, without })).toBe(
        await describeTree(`${scratch}/host-clone`, { times: false, without }),
      )
      expect(await git(`${dir}/work`, 'status --porcelain')).toBe('')

      const change =
        'echo changed > dir-0/file-3 && git rm -q dir-1/file-2 && git mv run ran && git commit -qam more'
      for (const tree of [`${dir}/work`, `${scratch}/host-clone`])
        await sh(`${change} && git checkout -q side && git merge -q main -m merged`, {
          cwd: tree,
          env: FIXED,
        })
      expect(await git(`${dir}/work`, 'rev-parse HEAD^{tree}')).toBe(
        await git(`${scratch}/host-clone`, 'rev-parse HEAD^{tree}'),
      )
      await git(`${dir}/work`, 'push -q origin --all')
      await git(`${dir}/work`, 'gc -q --prune=now')
      await git(`${dir}/bare.git`, 'repack -adq')
      await remount()
      for (const tree of ['work', 'bare.git']) await git(`${dir}/${tree}`, 'fsck --full --strict')
      expect(await git(`${dir}/work`, 'status --porcelain')).toBe('')
      expect(await git(`${dir}/bare.git`, 'rev-parse main side v1')).toBe(
        await git(`${scratch}/host-clone`, 'rev-parse main side v1'),
      )
    })
  })
})
