import { describe, expect, test } from 'vitest'
import { formatS3Address, parseS3Address, serverOf } from '../../../store/s3/address.ts'

const canonical = (url: string): string => formatS3Address(parseS3Address(url))

describe('the URL of a place in a bucket', () => {
  test.each([
    ['s3://bucket/prefix', 's3://bucket/prefix'],
    ['s3://bucket', 's3://bucket'],
    ['s3://bucket/', 's3://bucket'],
    ['s3://bucket/a/b/', 's3://bucket/a/b'],
    [
      's3://bucket/a?region=eu-west-1&endpoint=https://host:9000/',
      's3://bucket/a?endpoint=https://host:9000&region=eu-west-1',
    ],
    ['s3://bucket/a?endpoint=https%3A%2F%2Fhost', 's3://bucket/a?endpoint=https://host'],
  ])('%s is %s', (url, expected) => {
    expect(canonical(url)).toBe(expected)
    expect(canonical(expected)).toBe(expected)
  })

  test.each([
    ['s3://key:secret@bucket/x'],
    ['s3://bucket/x?secret_access_key=secret'],
    ['s3://bucket/x?aws_access_key_id=secret'],
  ])('credentials are refused, and not repeated: %s', url => {
    expect(() => parseS3Address(url)).toThrow('~/.aws/credentials')
    try {
      parseS3Address(url)
    } catch (error) {
      expect(String(error)).not.toContain('secret@')
      expect(String(error)).not.toContain('=secret')
    }
  })

  test.each([
    ['s3:bucket'],
    ['s3://'],
    ['s3://b/x'],
    ['s3://bucket/a//b'],
    ['s3://bucket/a b'],
    ["s3://bucket/a'b"],
    ['s3://bucket/x?unknown=1'],
    ['s3://bucket/x?endpoint=host'],
    ['s3://bucket/x?endpoint=ftp://host'],
    ['s3://bucket/x?endpoint=http://user:secret@host'],
    ['s3://bucket/x?region=a b'],
    ['https://bucket.s3.amazonaws.com'],
  ])('another form is refused: %s', url => {
    expect(() => parseS3Address(url)).toThrow()
  })

  test('requests go to the endpoint, that of the environment, or Amazon', () => {
    expect(serverOf(parseS3Address('s3://bucket/x?endpoint=http://host:1/base'), {}).base).toBe(
      'http://host:1/base/bucket',
    )
    expect(serverOf(parseS3Address('s3://bucket/x'), { AWS_ENDPOINT_URL_S3: 'https://host/' }).base).toBe(
      'https://host/bucket',
    )
    expect(serverOf(parseS3Address('s3://bucket/x'), { AWS_REGION: 'eu-north-1' })).toEqual({
      base: 'https://bucket.s3.eu-north-1.amazonaws.com',
      region: 'eu-north-1',
    })
    expect(serverOf(parseS3Address('s3://my.bucket/x?region=us-west-2'), {}).base).toBe(
      'https://s3.us-west-2.amazonaws.com/my.bucket',
    )
  })
})
