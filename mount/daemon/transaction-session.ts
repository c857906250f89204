/**
 * A transaction that a client delimits, over a control connection that stays open until it ends:
 *
 *     -> {"call":"transaction","parameters":{}}
 *     <- {"result":{}}                               it has begun
 *     -> {"commit":{"message":"the upgrade"}}        or {"rollBack":{}}
 *     <- {"result":{"tid":"040a1b2c3d4e5f60"}}
 *
 * If the client dies or closes the connection, the transaction is rolled back.
 */
import { sentError } from './control-protocol.ts'
import { logFailure } from './log-failure.ts'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { formatTid, type Tid } from '../../store/ids.ts'

/** Carries out a transaction. */
export interface TransactionHandler {
  begin(): Promise<void>
  /** Rejects after the transaction has been rolled back. */
  commit(message?: string): Promise<Tid>
  rollBack(): Promise<void>
}

/** How a client ends a transaction. */
export type TransactionEnd =
  { readonly commit: { readonly message?: string } } | { readonly rollBack: Readonly<Record<string, never>> }

/** Serves a connection whose call has been read. Never rejects. */
export async function serveTransaction(
  socket: Socket,
  handler: TransactionHandler,
  log: Logger,
): Promise<void> {
  const asked = nextLine(socket)
  const answer = (response: unknown): void => void socket.write(`${JSON.stringify(response)}\n`)
  try {
    await handler.begin()
    answer({ result: {} })
    const end = await asked.then(parseEnd).catch(async (error: unknown) => {
      await handler.rollBack()
      throw error
    })
    if (end !== undefined && 'commit' in end)
      // If this fails, nothing is left to roll back: the transaction that is open then is another client's.
      answer({ result: { tid: formatTid(await handler.commit(end.commit.message)) } })
    else {
      await handler.rollBack()
      log.info('a transaction was rolled back')
      answer({ result: {} })
    }
  } catch (error) {
    logFailure(log, error, 'a transaction failed')
    answer({ error: sentError(error) })
  } finally {
    socket.end()
  }
}

/** The next line; '' if the connection ends first. */
function nextLine(socket: Socket): Promise<string> {
  return new Promise(resolve => {
    let received = ''
    socket.on('data', (data: string) => {
      received += data
      const end = received.indexOf('\n')
      if (end >= 0) resolve(received.slice(0, end))
    })
    for (const event of ['end', 'close', 'error']) socket.once(event, () => resolve(''))
  })
}

/** Undefined if it is not a valid end of a transaction. */
function parseEnd(line: string): TransactionEnd | undefined {
  if (line === '') return undefined
  const value = JSON.parse(line) as TransactionEnd
  return typeof value === 'object' && value !== null ? value : undefined
}
