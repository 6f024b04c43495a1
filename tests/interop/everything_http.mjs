// server-everything over Streamable HTTP on a free port of loopback: node everything_http.mjs
//
// Prints its URL. By itself it takes a port that must be known to be free, listens on every address, and does not say
// which port it got.

import { Server } from 'node:net';
import { pathToFileURL } from 'node:url';
import { installed } from './installed.mjs';

const { listen } = Server.prototype;
Server.prototype.listen = function onLoopback(_port, done) {
    return listen.call(this, 0, '127.0.0.1', () => {
        console.log(`http://127.0.0.1:${this.address().port}/mcp`);
        done();
    });
};
const script = installed.resolve('@modelcontextprotocol/server-everything/dist/transports/streamableHttp.js');
await import(pathToFileURL(script));
