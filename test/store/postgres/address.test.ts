import { describe, expect, test } from 'vitest'
import { formatAddress, isPostgresUrl, parseAddress } from '../../../store/postgres/address.ts'

const canonical = (url: string, env: NodeJS.ProcessEnv = {}): string => formatAddress(parseAddress(url, env))

describe('the URL of a database', () => {
  test.each([
    ['postgres://me@host/name', 'postgres://me@host/name'],
    ['postgresql://me@host:5432/name', 'postgres://me@host/name'],
    ['postgres://me@host:5433/name?sslmode=verify-full', 'postgres://me@host:5433/name?sslmode=verify-full'],
    ['postgres://me@[::1]:99/name', 'postgres://me@[::1]:99/name'],
    ['postgres:///name?host=/run/pg&user=me', 'postgres://me@/name?host=/run/pg'],
    ['postgres://me@/name?host=/run/pg&port=6000', 'postgres://me@/name?host=/run/pg&port=6000'],
    ['postgres://a%40b@host/with%20space', 'postgres://a%40b@host/with%20space'],
    ['postgres://me@/name', 'postgres://me@/name?host=/run/postgresql'],
    ['postgres://me@host', 'postgres://me@host/me'],
  ])('%s is %s', (url, expected) => {
    expect(canonical(url)).toBe(expected)
    expect(canonical(expected)).toBe(expected)
  })

  test('omitted parts default to the environment', () => {
    const env = { PGHOST: 'server', PGPORT: '77', PGUSER: 'u', PGDATABASE: 'd', PGSSLMODE: 'require' }
    expect(canonical('postgres://', env)).toBe('postgres://u@server:77/d?sslmode=require')
    expect(canonical('postgres://me@host:1/name?sslmode=disable', env)).toBe(
      'postgres://me@host:1/name?sslmode=disable',
    )
  })

  test.each([
    ['postgres://me:secret@host/name'],
    ['postgres://me@host/name?password=secret'],
    ['postgres:///name?host=/x&password=secret'],
  ])('a password is refused, and not repeated: %s', url => {
    expect(() => parseAddress(url, {})).toThrow('.pgpass')
    try {
      parseAddress(url, {})
    } catch (error) {
      expect(String(error)).not.toContain('secret')
    }
  })

  test.each([
    ['postgres://me@host:port/name'],
    ['postgres://me@host:70000/name'],
    ['postgres://me@host/name?sslmode=maybe'],
    ['postgres://me@host/name?unknown=1'],
    ['postgres:name'],
    ['postgres://me@one,two/name'],
  ])('another form is refused: %s', url => {
    expect(() => parseAddress(url, {})).toThrow()
  })

  test('other names are not URLs', () => {
    expect(isPostgresUrl('postgres.db')).toBe(false)
    expect(isPostgresUrl('/postgres://x')).toBe(false)
    expect(isPostgresUrl('postgres://x')).toBe(true)
  })
})
