/** The handlers of requests about open directories. */
import { constants } from 'node:fs'
import {
  DOT,
  DOT_DOT,
  type DirectoryEntry,
  type Entry,
  type ListedEntry,
  type Operations,
} from '../../../core/file-system/operations.ts'
import { directoryEntriesIn, directoryEntryBytes } from './abi/directory.ts'
import { MAX_TRANSFER_BYTES } from './abi/init.ts'
import type { Message, RequestHeader } from './abi/message.ts'
import { Opcode } from './abi/opcodes.ts'
import type { Handler } from './handler.ts'

const { S_IFDIR, S_IFMT } = constants

export const DIRECTORY_HANDLERS: Readonly<Record<number, Handler>> = {
  [Opcode.OPENDIR]: async (request, message, { operations, replies }) => {
    replies.openedDirectory(request, await operations.opendir(request.ino, message.u32(0), request.caller))
  },
  [Opcode.READDIR]: async (request, message, { operations, replies, habits }) => {
    if (!beginsListing(message)) habits.continued(request.caller.pid, false)
    replies.directory(request, await readDirectory(request, message, operations, false))
  },
  [Opcode.READDIRPLUS]: async (request, message, { operations, replies, habits }) => {
    const { pid } = request.caller
    const isFirst = beginsListing(message)
    if (!isFirst) habits.continued(pid, true)
    const listed =
      isFirst && habits.listsNames(pid)
        ? await listNames(request, message, operations)
        : await readDirectoryPlus(request, message, operations)
    replies.directory(
      request,
      listed.map(({ entry }) => entry),
      listed.map(({ found }) => found),
    )
  },
  [Opcode.RELEASEDIR]: async (request, message, { operations, replies }) => {
    await operations.releasedir(request.ino, message.fh(0))
    replies.empty(request)
  },
  [Opcode.FSYNCDIR]: async (request, message, { operations, replies }) => {
    await operations.fsyncdir(request.ino, message.fh(0))
    replies.empty(request)
  },
}

/** Whether a request for entries begins a listing, or begins it again. */
const beginsListing = (message: Message): boolean => message.bigU64(8) === 0n

async function readDirectory(
  request: RequestHeader,
  message: Message,
  operations: Operations,
  plus: boolean,
): Promise<readonly DirectoryEntry[]> {
  const [fh, cookie] = [message.fh(0), message.bigU64(8)]
  const size = Math.min(message.u32(16), MAX_TRANSFER_BYTES)
  const entries = await operations.readdir(request.ino, fh, cookie, directoryEntriesIn(size, plus))
  let left = size
  const tooMany = entries.findIndex(entry => (left -= directoryEntryBytes(entry, plus)) < 0)
  return tooMany < 0 ? entries : entries.slice(0, tooMany)
}

async function readDirectoryPlus(
  request: RequestHeader,
  message: Message,
  operations: Operations,
): Promise<readonly ListedEntry[]> {
  if (operations.readdirplus !== undefined) {
    const [fh, cookie] = [message.fh(0), message.bigU64(8)]
    let left = Math.min(message.u32(16), MAX_TRANSFER_BYTES)
    return await operations.readdirplus(
      request.ino,
      fh,
      cookie,
      directoryEntriesIn(left, true),
      entry => (left -= directoryEntryBytes(entry, true)) >= 0,
    )
  }
  const listed: ListedEntry[] = []
  for (const entry of await readDirectory(request, message, operations, true))
    listed.push({ entry, found: await lookUpListed(request, entry, operations) })
  return listed
}

/** Entries of which only directories have their inodes: a program that lists a tree goes into these. */
async function listNames(
  request: RequestHeader,
  message: Message,
  operations: Operations,
): Promise<readonly ListedEntry[]> {
  const listed: ListedEntry[] = []
  for (const entry of await readDirectory(request, message, operations, true)) {
    const isBranch = (entry.type & S_IFMT) === S_IFDIR
    listed.push({ entry, found: isBranch ? await lookUpListed(request, entry, operations) : undefined })
  }
  return listed
}

/** The entry for readdirplus; undefined if it is gone by now, and for '.' and '..', whose references are not counted. */
async function lookUpListed(
  request: RequestHeader,
  entry: DirectoryEntry,
  operations: Operations,
): Promise<Entry | undefined> {
  if (entry.name === DOT || entry.name === DOT_DOT) return undefined
  try {
    return await operations.lookup(request.ino, entry.name, request.caller)
  } catch {
    return undefined
  }
}
