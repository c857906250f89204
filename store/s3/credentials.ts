/**
 * Credentials for S3, from where AWS's own tools read them: the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN), else a profile (AWS_PROFILE, by default `default`) of ~/.aws/credentials or of the file that
 * AWS_SHARED_CREDENTIALS_FILE names. They appear in no message.
 */
import { readFileSync } from '../os-files.ts'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** Undefined if there are none. */
export function findCredentials(env: NodeJS.ProcessEnv = process.env): S3Credentials | undefined {
  const found = credentialsIn({
    aws_access_key_id: env['AWS_ACCESS_KEY_ID'],
    aws_secret_access_key: env['AWS_SECRET_ACCESS_KEY'],
    aws_session_token: env['AWS_SESSION_TOKEN'],
  })
  if (found !== undefined) return found
  const file = env['AWS_SHARED_CREDENTIALS_FILE'] || join(env['HOME'] || homedir(), '.aws', 'credentials')
  try {
    return credentialsIn(profileIn(readFileSync(file, 'utf8'), env['AWS_PROFILE'] || 'default'))
  } catch {
    return undefined
  }
}

type Settings = Readonly<Record<string, string | undefined>>

function credentialsIn(settings: Settings): S3Credentials | undefined {
  const accessKeyId = settings['aws_access_key_id']
  const secretAccessKey = settings['aws_secret_access_key']
  const sessionToken = settings['aws_session_token']
  if (!accessKeyId || !secretAccessKey) return undefined
  return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) }
}

/** The settings of a section of an INI file. */
function profileIn(text: string, name: string): Settings {
  const settings: Record<string, string> = {}
  let section = ''
  for (const line of text.split(/\r?\n/)) {
    const header = /^\s*\[\s*(?:profile\s+)?([^\]]*?)\s*\]/.exec(line)
    if (header !== null) section = header[1] ?? ''
    const setting = /^\s*([A-Za-z_]+)\s*=\s*(.*?)\s*$/.exec(line)
    if (setting !== null && section === name) settings[(setting[1] ?? '').toLowerCase()] = setting[2] ?? ''
  }
  return settings
}
