/**
 * The address of a place for bulk bytes in an S3 bucket, as a URL:
 *
 *     s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION
 *
 * Without `endpoint` it is the environment's (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL), else Amazon's; without `region`,
 * AWS_REGION, AWS_DEFAULT_REGION or us-east-1. Credentials are refused: every user of the machine can read command lines.
 */
import { CannotOpenError } from '../errors.ts'

export interface S3Address {
  readonly bucket: string
  /** Precedes the key of every object; without a slash at either end; may be empty. */
  readonly prefix: string
  /** The server's URL; absent: as the environment says. */
  readonly endpoint?: string
  readonly region?: string
}

const FORM = /^s3:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/s
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/
/** Safe in keys and in URLs without escapes. */
const PREFIX = /^[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.-]+)*$/
const REGION = /^[A-Za-z0-9-]+$/
const FORMS = 's3://BUCKET/PREFIX?endpoint=https://HOST'
const DEFAULT_REGION = 'us-east-1'

/** @throws CannotOpenError if the URL has another form, or credentials. */
export function parseS3Address(url: string): S3Address {
  const parts = FORM.exec(url)
  if (
    /^[a-z0-9+.-]+:\/\/[^/?]*@/i.test(url) ||
    /[?&](?:[a-z_-]*key|secret|[a-z_-]*token|password)[a-z_-]*=/i.test(url)
  )
    throw new CannotOpenError(
      'an S3 URL has credentials, which every user of this machine could read in the list of processes: put them into ' +
        '~/.aws/credentials, or into the environment as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
    )
  if (parts === null) throw new CannotOpenError(`${url} is not a URL of the form ${FORMS}`)
  const [, bucket = '', path = '', query = ''] = parts
  const prefix = path.replace(/^\/+|\/+$/g, '')
  if (!BUCKET.test(bucket)) throw new CannotOpenError(`${url}: '${bucket}' is not the name of a bucket`)
  if (prefix !== '' && !PREFIX.test(prefix))
    throw new CannotOpenError(`${url}: the prefix '${prefix}' has other characters than A-Z a-z 0-9 _ . - /`)
  const parameters = new URLSearchParams(query)
  for (const name of parameters.keys())
    if (name !== 'endpoint' && name !== 'region')
      throw new CannotOpenError(
        `${url} has a parameter '${name}', which zblkfs does not support: it supports endpoint, region`,
      )
  const endpoint = parameters.get('endpoint')
  const region = parameters.get('region')
  if (region !== null && !REGION.test(region))
    throw new CannotOpenError(`${url}: '${region}' is not a region`)
  return {
    bucket,
    prefix,
    ...(endpoint !== null && { endpoint: endpointOf(url, endpoint) }),
    ...(region !== null && { region }),
  }
}

/** The canonical URL of an address: equal for every spelling of it. */
export function formatS3Address({ bucket, prefix, endpoint, region }: S3Address): string {
  const query = [
    ...(endpoint === undefined ? [] : [`endpoint=${endpoint}`]),
    ...(region === undefined ? [] : [`region=${region}`]),
  ]
  const name = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`
  return query.length === 0 ? name : `${name}?${query.join('&')}`
}

/** Where requests go: `base` is the URL of the bucket, without a slash at the end. */
export function serverOf(
  { bucket, endpoint, region }: S3Address,
  env: NodeJS.ProcessEnv = process.env,
): { readonly base: string; readonly region: string } {
  const found = region ?? (env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || DEFAULT_REGION)
  const server = endpoint ?? (env['AWS_ENDPOINT_URL_S3'] || env['AWS_ENDPOINT_URL'] || undefined)
  if (server !== undefined) return { base: `${endpointOf(server, server)}/${bucket}`, region: found }
  // A certificate for *.s3.REGION.amazonaws.com does not cover a name with dots.
  const base = bucket.includes('.')
    ? `https://s3.${found}.amazonaws.com/${bucket}`
    : `https://${bucket}.s3.${found}.amazonaws.com`
  return { base, region: found }
}

function endpointOf(url: string, text: string): string {
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  if (
    parsed === undefined ||
    !/^https?:$/.test(parsed.protocol) ||
    parsed.username !== '' ||
    parsed.search !== '' ||
    parsed.hash !== ''
  )
    throw new CannotOpenError(`${url}: the endpoint is not a URL of the form https://HOST:PORT`)
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`
}
