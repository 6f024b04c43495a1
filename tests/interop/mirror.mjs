// The TypeScript client of both eras, printing all that it sees of a server as one document of JSON:
// node mirror.mjs ERA SERVER URL, or over the pipes of a command node mirror.mjs ERA SERVER COMMAND [ARGUMENT...]
//
// ERA is 2025-11-25 or 2026-07-28, and SERVER a name in mirror.json, which lists what is asked for.

import { readFileSync } from 'node:fs';
import { installed } from './installed.mjs';

const { Client, StreamableHTTPClientTransport } = installed('@modelcontextprotocol/client');
const { StdioClientTransport } = installed('@modelcontextprotocol/client/stdio');

const [era, server, target, ...args] = process.argv.slice(2);
const wanted = JSON.parse(readFileSync(new URL('mirror.json', import.meta.url)))[server];
const mode = { '2025-11-25': 'legacy', '2026-07-28': { pin: '2026-07-28' } }[era];
if (!wanted || !mode || !target) throw new Error('usage: mirror.mjs ERA SERVER URL_OR_COMMAND...');

// What a list says is not needed here to check a result, and nothing is to be answered from memory.
const client = new Client({ name: 'mirror', version: '1' }, { versionNegotiation: { mode } });
await client.connect(
    target.startsWith('http')
        ? new StreamableHTTPClientTransport(new URL(target))
        : new StdioClientTransport({ command: target, args, env: process.env, stderr: 'inherit' })
);

/** What came: a result, or an error as the client tells it. */
async function outcome(ask) {
    try {
        return await ask();
    } catch (error) {
        return { error: { name: error.name, code: error.code, message: error.message, data: error.data } };
    }
}

async function call([name, given]) {
    const progress = [];
    const onprogress = ({ progress: done }) => progress.push(done);
    const answer = await outcome(() => client.callTool({ name, arguments: given }, { onprogress }));
    // A client that reads the result together with progress may drop what it has not told yet.
    const inOrder = progress.every((done, at) => at === 0 || done > progress[at - 1]);
    return { name, answer, inOrder };
}

async function each(list, ask) {
    const all = [];
    for (const one of list ?? []) all.push(await ask(one));
    return all;
}

const seen = {
    server: client.getServerVersion(),
    revision: client.getNegotiatedProtocolVersion(),
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
    tools: await outcome(() => client.listTools()),
    prompts: await outcome(() => client.listPrompts()),
    resources: await outcome(() => client.listResources()),
    templates: await outcome(() => client.listResourceTemplates()),
    called: await each(wanted.tools, call),
    prompted: await each(wanted.prompts, ([name, given]) => outcome(() => client.getPrompt({ name, arguments: given }))),
    read: await each(wanted.resources, (uri) => outcome(() => client.readResource({ uri }))),
};
console.log(JSON.stringify(seen, null, 1));
await client.close();
process.exit(0);
