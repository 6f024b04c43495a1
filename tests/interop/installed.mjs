// Loads packages that install.sh put into a folder elsewhere, which `import` would not look into.

import { createRequire } from 'node:module';
import path from 'node:path';

const root = process.env.TUNNEL_CLIENT_REAL_SERVERS ?? 'target/real-servers';

/** `require` for the packages that install.sh always installs. */
export const installed = createRequire(path.resolve(root, 'package.json'));

/** `require` for those that it installs with --full. */
export const installedFull = createRequire(path.resolve(root, 'full/package.json'));
