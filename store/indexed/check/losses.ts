import { formatOid, formatTid, type Oid, type Tid } from '../../ids.ts'

/** The name of the note which records that a state is lost and that a repair has accepted this. */
export const lossName = (oid: Oid, tid: Tid): string => `lost ${formatOid(oid)} ${formatTid(tid)}`
