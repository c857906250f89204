/** The texts of the Debian package that are about the package. Source: Debian Policy, chapters 5, 8 and 12. */

/** From the environment, as Debian's own tools take it; a package that is published needs a real address. */
const { DEBFULLNAME = 'zblkfs developers', DEBEMAIL = 'root@localhost' } = process.env
const MAINTAINER = `${DEBFULLNAME} <${DEBEMAIL}>`

/** The fields of the control file. */
export interface ControlFields {
  readonly version: string
  /** amd64 or arm64 */
  readonly architecture: string
  /** What the installed files take, in KiB. */
  readonly kibibytes: number
}

export const control = ({ version, architecture, kibibytes }: ControlFields): string => `Package: zblkfs
Version: ${version}
Architecture: ${architecture}
Maintainer: ${MAINTAINER}
Installed-Size: ${kibibytes}
Depends: fuse3, libc6 (>= 2.28), libgcc-s1, libstdc++6
Recommends: liblz4-1
Section: utils
Priority: optional
Description: filesystem for files too big to copy, with every moment of its past
 zblkfs mounts a transactional object database as a directory of big files.
 A small change costs what it changes, every transaction stays readable as a
 directory of its time, and serving terabytes takes little memory.
 .
 It also shows the big files of ZODB and wendelin.core databases.
`

/** The package's changelog, and the date of its newest entry (YYYY-MM-DD). */
export function changelog({ version }: { readonly version: string }): {
  readonly date: string
  readonly text: string
} {
  const date = new Date()
  return {
    date: date.toISOString().slice(0, 10),
    text: `zblkfs (${version}) unstable; urgency=medium

  * See CHANGELOG.md of the project.

 -- ${MAINTAINER}  ${date.toUTCString().replace('GMT', '+0000')}
`,
  }
}

export const COPYRIGHT = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: zblkfs

Files: *
Copyright: The zblkfs developers
License: Apache-2.0
 On Debian systems the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.

Files: usr/lib/zblkfs/node
Copyright: Node.js contributors and the authors of the libraries that it contains
License: Expat
 Permission is hereby granted, free of charge, to any person obtaining a copy
 of this software and associated documentation files (the "Software"), to deal
 in the Software without restriction, including without limitation the rights
 to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
 copies of the Software, and to permit persons to whom the Software is
 furnished to do so, subject to the following conditions:
 .
 The above copyright notice and this permission notice shall be included in
 all copies or substantial portions of the Software.
 .
 THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 SOFTWARE.

Files: usr/lib/zblkfs/node_modules/*
Copyright: the authors that each module names
License: as-in-each-module
 The licence of each module lies in its directory.
`

/** Each with its reason, in lintian's format. */
export const LINTIAN_OVERRIDES = `# Node and the native modules come as their projects build them.
zblkfs: embedded-library *
zblkfs: unstripped-binary-or-object *
zblkfs: hardening-no-pie *
# The helpers are described by mount(8), the units by zblkfs(1).
zblkfs: no-manual-page *sbin*
# Each module names its authors in its licence.
zblkfs: copyright-without-copyright-notice
`
