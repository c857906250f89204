/**
 * Paths to be shown: of any depth in bounded memory. A path of up to {@link WHOLE_MAX_BYTES} is whole. Of a longer one the
 * first names and the last names are kept, and the middle is replaced by the number of names left out:
 *
 *     a/b/c/(... 2995 names left out ...)/x/y/z
 *
 * Linux refuses paths of 4,096 bytes (PATH_MAX), so a path that is shortened here cannot be opened as it stands anyway. What
 * it begins with is whole up to that length: a path that was typed can be compared with it.
 */
import { growingCache } from '../growing-cache.ts'
import type { Oid } from '../../store/ids.ts'

/** PATH_MAX: the names at the beginning of a shortened path. */
const HEAD_MAX_BYTES = 4096
/** The names at its end. */
const TAIL_MAX_BYTES = 1024
const WHOLE_MAX_BYTES = HEAD_MAX_BYTES + TAIL_MAX_BYTES

/** A path relative to a root, one character per byte, without a leading slash; the root's own is ''. */
export class ShownPath {
  readonly #head: string
  readonly #leftOut: number
  /** What follows the names that were left out. */
  readonly #tail: string

  private constructor(head: string, leftOut: number, tail: string) {
    this.#head = head
    this.#leftOut = leftOut
    this.#tail = tail
  }

  /** A path that stands for a place without a way from the root. */
  static from(text: string): ShownPath {
    return new ShownPath(text, 0, '')
  }

  get text(): string {
    return this.#leftOut === 0
      ? this.#head
      : `${this.#head}/(... ${this.#leftOut} names left out ...)/${this.#tail}`
  }

  /** The path of a name in this directory. */
  child(name: string): ShownPath {
    if (this.#leftOut > 0) return this.#shorten(this.#head, this.#leftOut, `${this.#tail}/${name}`)
    const text = this.#head === '' ? name : `${this.#head}/${name}`
    if (text.length <= WHOLE_MAX_BYTES) return new ShownPath(text, 0, '')
    const end = text.lastIndexOf('/', HEAD_MAX_BYTES)
    return this.#shorten(text.slice(0, end), 0, text.slice(end + 1))
  }

  #shorten(head: string, leftOut: number, tail: string): ShownPath {
    let from = 0
    let count = leftOut
    while (tail.length - from > TAIL_MAX_BYTES) {
      from = tail.indexOf('/', from) + 1
      count++
    }
    return new ShownPath(head, count, tail.slice(from))
  }
}

/** A root's own path. Not a static member: TypeScript 7.0 compiles one that its own class makes to code that throws. */
export const ROOT_PATH = ShownPath.from('')

/** Where an inode has its name. */
export interface Place {
  readonly parent: Oid
  readonly name: string
}

/** The name of an inode; the path itself of the root, and of what has no name; undefined if it has no path. */
export type PlaceOf = (oid: Oid) => Place | ShownPath | undefined | Promise<Place | ShownPath | undefined>

/** Paths and answers of directories in memory. */
const DIRECTORIES_MAX = 4096

/**
 * Finds the paths of inodes by climbing from one directory to the next above. What was found of directories is remembered, so
 * that the paths of neighbours in a deep tree cost little. Directories that lead back to themselves have no path.
 */
export class PathResolver {
  readonly #placeOf: PlaceOf
  readonly #paths = growingCache<Oid, ShownPath>(DIRECTORIES_MAX)
  readonly #within = growingCache<Oid, { readonly answer: boolean }>(DIRECTORIES_MAX)
  #top: Oid | undefined

  constructor(placeOf: PlaceOf) {
    this.#placeOf = placeOf
  }

  /** The path of an inode; undefined if it has none. */
  async pathOf(oid: Oid): Promise<ShownPath | undefined> {
    const below: { readonly oid: Oid; readonly name: string }[] = []
    const met = new Set<Oid>()
    let path: ShownPath | undefined
    for (let at = oid; path === undefined;) {
      const place: Place | ShownPath | undefined = this.#paths.get(at) ?? (await this.#placeOf(at))
      if (place === undefined || met.has(at)) return undefined
      if (place instanceof ShownPath) path = place
      else {
        met.add(at)
        below.push({ oid: at, name: place.name })
        at = place.parent
      }
    }
    for (const { oid: directory, name } of below.toReversed()) {
      path = path.child(name)
      if (directory !== oid) this.#paths.set(directory, path)
    }
    return path
  }

  /** Whether an inode is a directory or lies in it, at any depth. */
  async isWithin(oid: Oid, top: Oid): Promise<boolean> {
    if (this.#top !== top) this.#within.clear()
    this.#top = top
    const met = new Set<Oid>()
    let answer: boolean | undefined
    for (let at = oid; answer === undefined;) {
      const place: Place | ShownPath | undefined = at === top ? undefined : await this.#placeOf(at)
      if (at === top) answer = true
      else if (place === undefined || place instanceof ShownPath || met.has(at)) answer = false
      else {
        met.add(at)
        at = place.parent
        answer = this.#within.get(at)?.answer
      }
    }
    met.delete(oid)
    for (const directory of met) this.#within.set(directory, { answer })
    return answer
  }
}
