/** fio writes patterns through several engines and finds them again. */
import { describe, it } from 'vitest'
import { withPlace } from './place.ts'
import { has, sh } from './program.ts'

const JOBS = [
  { name: 'random writes', options: '--rw=randwrite --bs=4k --ioengine=psync --size=8m' },
  {
    name: 'writes of mixed lengths',
    options: '--rw=randwrite --bsrange=1k-256k --bs_unaligned --ioengine=psync --size=12m',
  },
  {
    name: 'asynchronous direct writes',
    options: '--rw=randwrite --bs=16k --ioengine=libaio --iodepth=16 --direct=1 --size=12m',
  },
  {
    name: 'sequential writes with fsync',
    options: '--rw=write --bs=128k --ioengine=psync --fsync=16 --size=24m',
  },
  { name: 'mapped writes', options: '--rw=randwrite --bs=4k --ioengine=mmap --size=8m' },
  { name: 'several jobs', options: '--rw=randwrite --bs=8k --ioengine=psync --size=4m --numjobs=4' },
]

describe.skipIf(!has('fio'))('fio with verify', () => {
  it.each(JOBS)('$name are found again, after a remount too', async ({ options }) => {
    await withPlace(async ({ dir, scratch, remount }) => {
      const fio = `fio --name=job --directory=${dir} ${options} --verify=crc32c --randseed=4711 --output-format=terse`
      await sh(`${fio} --do_verify=1 --verify_fatal=1`, { cwd: scratch })
      await remount()
      await sh(`${fio} --verify_only=1 --verify_fatal=1`, { cwd: scratch })
    })
  })
})
