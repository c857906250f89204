/* Runs when the package is installed, on any Node: ends the installation with one line if this Node cannot run it. */
'use strict'
const { existsSync } = require('fs')
const path = require('path')
const { engines, name } = require('../../package.json')

const [, major, minor] = /(\d+)\.(\d+)/.exec(engines.node)
const [ownMajor, ownMinor] = process.versions.node.split('.').map(Number)
// A checkout installs a Node of its own.
const isCheckout = existsSync(path.join(__dirname, '../../index.ts'))
if (!isCheckout && (ownMajor < Number(major) || (ownMajor === Number(major) && ownMinor < Number(minor)))) {
  console.error(
    `${name} needs Node ${major}.${minor} or later, and this is ${process.version}: nothing is installed; install a newer Node from https://nodejs.org, or the Debian package, which has its own`,
  )
  process.exit(1)
}
