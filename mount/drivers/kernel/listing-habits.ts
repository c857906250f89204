/**
 * Whether a process uses the inodes that it lists. Of the first entries of each directory the kernel requests them all (READDIRPLUS), of
 * the others only if the process has used one of the first. An inode costs about three times what its name and type cost, and `find
 * -type f` uses none. So a process that has used none in one directory gets names and types in the next: an entry without an inode, which
 * the kernel looks up if it is used after all.
 *
 *     uses inodes -- entries after the first are requested without inodes --> lists names
 *     lists names -- ... with inodes --> uses inodes
 *     lists names -- a lookup of a file --> uses inodes, whatever it lists: as `rm -r`, which lists all entries of a directory first
 */

/** Maximum number of processes that are remembered. */
const PROCESSES_MAX = 256

/** The id that processes outside this namespace share. */
const OUTSIDE = 0

type Habit = 'lists names' | 'uses inodes'

export class ListingHabits {
  /** Oldest first. A process that is not here uses inodes, as far as is known. */
  readonly #habits = new Map<number, Habit>()

  /** Whether a process is likely to use names and types only. */
  listsNames(pid: number): boolean {
    return this.#habits.get(pid) === 'lists names'
  }

  /** The kernel has requested entries after the first ones of a directory. */
  continued(pid: number, withInodes: boolean): void {
    const habit = this.#habits.get(pid)
    if (habit === 'uses inodes' || pid === OUTSIDE) return
    if (withInodes) this.#habits.delete(pid)
    else if (habit === undefined) this.#set(pid, 'lists names')
  }

  /** A process has looked up a file that is no directory. */
  lookedUp(pid: number): void {
    if (this.listsNames(pid)) this.#set(pid, 'uses inodes')
  }

  #set(pid: number, habit: Habit): void {
    this.#habits.set(pid, habit)
    if (this.#habits.size <= PROCESSES_MAX) return
    for (const oldest of this.#habits.keys()) {
      this.#habits.delete(oldest)
      return
    }
  }
}
