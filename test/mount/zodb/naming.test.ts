import { Writable } from 'node:stream'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { encodeRecord } from '../../../core/objects/record.ts'
import type { Ino, Operations } from '../../../core/file-system/operations.ts'
import { codeOf } from '../../tools/paths.ts'
import { fileStoragePaths } from './foreign-paths.ts'
import * as made from './hand-made.ts'

const FILE = {
  90: made.bigFile(8, 91),
  91: made.tree(made.LOTREE, 0, made.ref(92, made.ZBLK0)),
  92: made.data(made.ZBLK0, 'content'),
}
const CONTENT = 'content\0'
const file = made.ref(90, made.ZBIGFILE)

const xattrs = async (ino: Ino, name: string, fs: Pick<Operations, 'getxattr'>): Promise<string> =>
  Buffer.from(await fs.getxattr(ino, name)).toString()

describe('the names of a foreign database', () => {
  it('follow mappings and trees, of text, bytes and integers', async () => {
    const path = made.madeUpFile({
      ...FILE,
      0: made.mapping({
        file,
        grüße: made.ref(2, made.OOTREE),
        'by bytes': made.ref(3, made.OOTREE),
        numbers: made.ref(4, made.LOTREE),
        small: made.ref(5, made.IOTREE),
        deep: made.ref(6, made.MAPPING),
      }),
      2: made.tree(made.OOTREE, 'a', file, 'ü', file, '\u{1f600}', file),
      3: made.tree(made.OOTREE, made.bytes('\xff'), file),
      4: made.tree(made.LOTREE, -5, file, 0, file, 2 ** 50, file),
      5: made.tree(made.IOTREE, 7, file),
      6: made.mapping({ deeper: made.ref(7, made.MAPPING) }),
      7: made.mapping({ file }),
    })
    const paths = await fileStoragePaths(path)
    const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
    const expected = [
      'file',
      latin1('grüße/a'),
      latin1('grüße/ü'),
      latin1('grüße/\u{1f600}'),
      'by bytes/\xff',
      'numbers/-5',
      'numbers/0',
      `numbers/${2 ** 50}`,
      'small/7',
      'deep/deeper/file',
    ]
    for (const name of expected) expect(String(await paths.read(`root/${name}`)), name).toBe(CONTENT)
    expect(await paths.list('root', 2)).toEqual([
      'by bytes',
      'deep',
      'file',
      latin1('grüße'),
      'numbers',
      'small',
    ])
    expect(await paths.list('root/numbers', 3)).toEqual(['-5', '0', `${2 ** 50}`])
    expect(await paths.list(latin1('root/grüße'), 3)).toEqual(['a', latin1('ü'), latin1('\u{1f600}')])
    for (const name of ['numbers/00', 'numbers/x', 'small/1e1', 'grüße/b', 'file/x', 'missing'])
      expect(await codeOf(paths.stat(`root/${latin1(name)}`)), name).toMatch(/ENOENT|ENOTDIR/)
  })

  it('omit unknown and misplaced objects, and log them at debug level', async () => {
    const lines: string[] = []
    const log = pino(
      { level: 'debug' },
      new Writable({ write: (chunk, _, done) => (lines.push(String(chunk)), done()) }),
    )
    const path = made.madeUpFile({
      ...FILE,
      0: made.mapping({
        file,
        app: made.ref(2, 'os.system'),
        'a/b': file,
        '..': file,
        ['x'.repeat(300)]: file,
        plain: 5,
      }),
      2: encodeRecord('os.system', 'rm -rf /'),
    })
    const paths = await fileStoragePaths(path, { log })
    expect(await paths.list('root')).toEqual(['file'])
    expect(await codeOf(paths.stat('root/app'))).toBe('ENOENT')
    expect(lines.join('')).toContain('app is a os.system, which is unknown here')
    expect(lines.join('')).toContain('plain is a plain value')
  })

  it('may form cycles', async () => {
    const path = made.madeUpFile({
      ...FILE,
      0: made.mapping({ again: made.ref(0, made.MAPPING), file }),
    })
    const paths = await fileStoragePaths(path)
    expect(String(await paths.read(`root/${'again/'.repeat(40)}file`))).toBe(CONTENT)
    const inos = await Promise.all([
      paths.stat('root'),
      paths.stat('root/again'),
      paths.stat('root/again/again'),
    ])
    expect(new Set(inos.map(({ ino }) => ino)).size).toBe(3)
  })

  it('lead through a ZBigArray to its file, with metadata for numpy', async () => {
    // State of wendelin.core's, in Python 2's and in Python 3's way, with numpy's dtypes as they are pickled.
    const type = (code: string, order: string): string =>
      `cnumpy\ndtype\n(U${char(code.length)}${code}K\0K\x01tR(K\x03U\x01${order}NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb`
    const zfile = `(C\x08\0\0\0\0\0\0\0\x5acwendelin.bigfile.file_zodb\nZBigFile\ntQ`
    const record = (state: string): Buffer =>
      Buffer.from(`\x80\x03cwendelin.bigarray.array_zodb\nZBigArray\nq\0.\x80\x03${state}.`, 'latin1')
    const plain = `}(U\x06_dtype${type('f8', '<')}U\x06_shape(K\x05K\x02tU\x08_stridev(K\x10K\x08tU\x05zfile${zfile}u`
    const slots = `(}(X\x06\0\0\0_dtype${type('i2', '>')}X\x06\0\0\0_shape(K\x05tX\x06\0\0\0_orderX\x01\0\0\0Fu}X\x05\0\0\0zfile${zfile}st`
    const structured =
      `}(U\x06_dtypecnumpy\ndtype\n(U\x03V12K\0K\x01tR(K\x03U\x01|N(U\x01aU\x01bt}(` +
      `U\x01a(${type('i4', '<')}K\0tU\x01b(${type('f8', '<')}K\x04tuK\x0cK\x01K\0tbU\x06_shape(K\x05tU\x05zfile${zfile}u`
    const path = made.madeUpFile({
      ...FILE,
      0: made.mapping({
        plain: made.ref(2, made.ZBIGARRAY),
        slots: made.ref(3, made.ZBIGARRAY),
        structured: made.ref(4, made.ZBIGARRAY),
      }),
      2: record(plain),
      3: record(slots),
      4: record(structured),
    })
    const paths = await fileStoragePaths(path)
    const of = (name: string, what: string): Promise<string> =>
      paths.at(`root/${name}`, ino => xattrs(ino, `user.zblkfs.${what}`, paths.fs))
    expect(String(await paths.read('root/plain'))).toBe(CONTENT)
    expect(await of('plain', 'dtype')).toBe('<f8')
    expect(await of('plain', 'shape')).toBe('5,2')
    expect(await of('plain', 'strides')).toBe('16,8')
    expect(await of('plain', 'order')).toBe('C')
    expect(await of('plain', 'oid')).toBe('000000000000005a')
    expect(await of('plain', 'blksize')).toBe('8')
    expect(await of('slots', 'dtype')).toBe('>i2')
    expect(await of('slots', 'order')).toBe('F')
    expect(JSON.parse(await of('structured', 'dtype'))).toEqual({
      names: ['a', 'b'],
      formats: ['<i4', '<f8'],
      offsets: [0, 4],
      itemsize: 12,
    })
    expect(await codeOf(of('plain', 'nothing'))).toBe('ENODATA')
    await paths.at('root/slots', async ino =>
      expect((await paths.fs.listxattr(ino)).toSorted()).toEqual(
        ['blksize', 'dtype', 'oid', 'order', 'shape'].map(name => `user.zblkfs.${name}`),
      ),
    )
  })
})

const char = (code: number): string => String.fromCharCode(code)
