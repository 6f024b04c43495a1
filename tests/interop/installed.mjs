// Loads packages that install.sh put into a folder elsewhere, which `import` would not look into.

import { createRequire } from 'node:module';
import path from 'node:path';

const root = process.env.TUNNEL_CLIENT_REAL_SERVERS ?? 'target/real-servers';

/** `require` for the packages below the folder that install.sh filled. */
export const installed = createRequire(path.resolve(root, 'package.json'));
