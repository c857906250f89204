/** POSIX ACLs (-o acl), compared with the host's filesystem. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { has, sh } from '../../../programs/program.ts'
import { withMount } from '../../../tools/mounted.ts'

const SHOW = 'find . | sort | xargs -d "\\n" getfacl -nP; find . -printf "%P %y %m\\n" | sort'

/** Each begins in a new directory. */
const CASES: Readonly<Record<string, string>> = {
  'an access ACL changes the mode, and a minimal one is the mode': `
    umask 022; echo x > f; setfacl -m u:1234:rw,g:2345:r f; stat -c %a f; setfacl -m m::r f; stat -c %a f
    echo y > g; setfacl -m u::rw,g::r,o::- g; stat -c %a g; getfattr -n system.posix_acl_access g || true`,
  'chmod changes the mask, or the group without one': `
    umask 022; echo x > f; setfacl -m u:1234:rwx f; chmod 640 f; getfacl -np f; chmod 777 f
    echo y > g; chmod 651 g`,
  'a default ACL is inherited, in place of the umask': `
    umask 077; mkdir d; setfacl -d -m u:1234:rwx,g:2345:rx,o::r d; echo x > d/f; mkdir d/sub; mkdir d/sub/sub
    touch d/sub/sub/deep; mknod d/fifo p; ln -s f d/link; (umask 0; mkdir -m 700 d/own; touch d/all)
    mkdir e; setfacl -d -m u::rwx,g::rx,o::- e; touch e/minimal; mkdir e/sub`,
  'without a default ACL the umask counts': `
    umask 027; touch f; mkdir d; mknod p p; umask 0; touch all; mkdir alld`,
  'ACLs are removed': `
    umask 022; mkdir d; setfacl -m u:1234:rwx d; setfacl -d -m u:1234:rwx d; setfacl -k d; getfacl -np d; setfacl -b d
    echo x > f; setfacl -b f`,
  'they are copied by cp, tar and rsync': `
    umask 022; mkdir d; setfacl -d -m g:2345:rwx d; echo x > d/f; setfacl -m u:1234:rw d/f; cp -a d copy
    rsync -aA d/ synced/; tar --acls -cf t.tar d; mkdir out; tar --acls -C out -xf t.tar; rm t.tar`,
  'setgid is dropped where the group is not the own one': `
    umask 022; chmod 777 .; setpriv --reuid 1234 --regid 1234 --clear-groups sh -c 'touch f'; chgrp 2345 f; chmod 2755 f
    setpriv --reuid 1234 --regid 1234 --clear-groups setfacl -m u:77:r f`,
  'the kernel checks access by them': `
    umask 022; chmod 755 .; echo secret > f; chmod 600 f; setfacl -m u:1234:r f
    as() { setpriv --reuid $1 --regid $2 --clear-groups sh -c "$3" 2>&1 || echo refused; }
    as 1234 99 'cat f'; as 1235 99 'cat f'; as 1234 99 'echo no > f'; setfacl -m g:2345:rw f; as 1236 2345 'cat f; echo yes > f'; cat f
    chmod 640 f; as 1236 2345 'echo no > f'; mkdir d; setfacl -m u:1234:wx d; chmod 700 d; setfacl -m m::wx d; as 1234 99 'touch d/x'; ls d`,
}

const isPossible = process.getuid?.() === 0 && ['setfacl', 'getfattr', 'rsync'].every(has)

for (const [name, script] of Object.entries(CASES))
  test.runIf(isPossible)(name, async () => {
    await withMount({ driver: 'kernel', options: ['acl', 'allow_other'] }, async mount => {
      const { dir, scratch } = mount
      const shown: string[] = []
      await sh(`chmod 755 ${scratch}`)
      for (const base of [join(scratch, 'host'), join(dir, 'here')]) {
        await mkdir(base)
        const printed = await sh(script, { cwd: base })
        shown.push(`${printed}\n${await sh(SHOW, { cwd: base })}`)
      }
      expect(shown[1]).toBe(shown[0])
      await mount.remount()
      const printed = shown[1]?.slice(0, -(await sh(SHOW, { cwd: join(dir, 'here') })).length)
      expect(`${printed}${await sh(SHOW, { cwd: join(dir, 'here') })}`).toBe(shown[0])
    })
  })

test.runIf(isPossible)('without -o acl they are refused, and stored ones are not listed', async () => {
  await withMount({ driver: 'kernel', options: ['acl'] }, async mount => {
    const file = join(mount.dir, 'f')
    await sh(`touch ${file}; setfacl -m u:1234:rw ${file}`)
    expect(await sh(`getfattr -m - ${file} 2>/dev/null`)).toContain('posix_acl_access')
    await mount.remount([])
    expect(await sh(`getfattr -m - ${file} 2>/dev/null`)).toBe('')
    await expect(sh(`setfacl -m u:1235:rw ${file}`)).rejects.toThrow(/Operation not supported/)
    await mount.remount(['acl'])
    expect(await sh(`getfacl -np ${file}`)).toContain('user:1234:rw-')
  })
})
