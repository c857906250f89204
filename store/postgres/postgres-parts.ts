import type { Access } from '../encryption/seals.ts'
import type { RemoteBulk } from '../s3/remote-bulk.ts'
import type { PostgresAddress } from './address.ts'
import type { Session } from './session.ts'

/** Options of both kinds of store. */
export interface PostgresParts {
  readonly name: string
  readonly address: PostgresAddress
  /** The database's id. */
  readonly id: string
  /** An open session. */
  readonly session: Session
  /** Receives a sentence when the connection is lost, is restored, or this writer is fenced. */
  readonly report: (message: string) => void
  /** The bucket with bulk bytes; undefined: they are in rows. */
  readonly remote: RemoteBulk | undefined
  /** Undefined for a database that is not encrypted. */
  readonly access: Access
}
