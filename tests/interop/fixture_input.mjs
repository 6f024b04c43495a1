// Tools of the conformance fixture that ask the client back. They are written for the newer era, where they answer with
// what they want to know and are called again; in the older one the SDK turns that into requests of the server.

import { randomBytes } from 'node:crypto';
import { installedFull } from './installed.mjs';
import { strings } from './fixture_content.mjs';

const { acceptedContent, createRequestStateCodec, fromJsonSchema, inputRequired, inputResponse } = installedFull(
    '@modelcontextprotocol/server',
);

/** Signs what a client keeps between two rounds. */
export const state = createRequestStateCodec({ key: randomBytes(32) });

const text = (value) => ({ content: [{ type: 'text', text: value }] });
const form = (message, properties, required = []) =>
    inputRequired.elicit({ message, requestedSchema: { type: 'object', properties, required } });
const field = (message, name, type = 'string') => form(message, { [name]: { type } }, [name]);
const sample = (prompt) =>
    inputRequired.createMessage({
        messages: [{ role: 'user', content: { type: 'text', text: prompt } }],
        maxTokens: 100,
    });

/** The text of a model's answer, which may be one block or several. */
const sampled = ({ result }) => [result.content].flat().map((block) => block.text).join('');
const elicited = ({ action, content }) => `action=${action}, content=${JSON.stringify(content ?? {})}`;

const consts = (...pairs) => pairs.map(([value, title]) => ({ const: value, title }));
const options = ['option1', 'option2', 'option3'];
const ENUMS = {
    untitledSingle: { type: 'string', enum: options },
    titledSingle: { type: 'string', oneOf: consts(['value1', 'First Option'], ['value2', 'Second Option']) },
    legacyEnum: { type: 'string', enum: ['opt1', 'opt2'], enumNames: ['Option One', 'Option Two'] },
    untitledMulti: { type: 'array', items: { type: 'string', enum: options } },
    titledMulti: { type: 'array', items: { anyOf: consts(['value1', 'First Choice'], ['value2', 'Second Choice']) } },
};
const DEFAULTS = {
    name: { type: 'string', default: 'John Doe' },
    age: { type: 'integer', default: 30 },
    score: { type: 'number', default: 95.5 },
    status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
    verified: { type: 'boolean', default: true },
};

/** Asks one question under this key until there is an answer of this kind. */
function asking(key, kind, question, answer) {
    return (given, { mcpReq }) => {
        const response = inputResponse(mcpReq.inputResponses, key);
        if (response.kind === kind) return text(answer(response));
        return inputRequired({ inputRequests: { [key]: question(given) } });
    };
}

/** Asks for confirmation and signs what it wants back. */
async function confirmed(_, ctx) {
    if (acceptedContent(ctx.mcpReq.inputResponses, 'confirm')) return text('state-ok');
    const inputRequests = { confirm: field('Go on?', 'ok', 'boolean') };
    return inputRequired({ inputRequests, requestState: await state.mint({ asked: true }, ctx) });
}

/** Wants a name that is one; anything else is asked for again. */
function named(_, { mcpReq }) {
    const name = acceptedContent(mcpReq.inputResponses, 'user_name')?.name;
    if (typeof name === 'string') return text(`Hello, ${name}!`);
    return inputRequired({ inputRequests: { user_name: field('What is your name?', 'name') } });
}

async function several(_, ctx) {
    const responses = ctx.mcpReq.inputResponses;
    const inputRequests = {
        user_name: field('What is your name?', 'name'),
        greeting: sample('Say hello.'),
        client_roots: inputRequired.listRoots(),
    };
    const missing = Object.keys(inputRequests).filter((key) => inputResponse(responses, key).kind === 'missing');
    if (missing.length === 0) return text('All of it arrived.');
    return inputRequired({ inputRequests, requestState: await state.mint({ asked: true }, ctx) });
}

async function twoRounds(_, ctx) {
    const steps = [
        { step1: field('What is your name?', 'name') },
        { step2: field('What is your favourite colour?', 'color') },
    ];
    const round = ctx.mcpReq.requestState()?.round ?? 0;
    if (round === steps.length) return text('Both rounds are done.');
    const requestState = await state.mint({ round: round + 1 }, ctx);
    return inputRequired({ inputRequests: steps[round], requestState });
}

/** Asks only for what the client says it can do. */
async function capable(_, ctx) {
    if (Object.keys(ctx.mcpReq.inputResponses ?? {}).length > 0) return text('Thank you.');
    const can = ctx.mcpReq.envelope?.['io.modelcontextprotocol/clientCapabilities'] ?? {};
    const inputRequests = {};
    if (can.elicitation) inputRequests.elicit_input = field('A value?', 'value');
    if (can.sampling) inputRequests.sample_input = sample('Say hello.');
    if (Object.keys(inputRequests).length === 0) return text('There is nobody to ask.');
    return inputRequired({ inputRequests, requestState: await state.mint({ asked: true }, ctx) });
}

const completed = (response) => `Elicitation completed: ${elicited(response)}`;
const counted = ({ roots }) => `${roots.length} roots`;
const wantsRoots = asking('client_roots', 'roots', () => inputRequired.listRoots(), counted);
const capital = () => sample('What is the capital of France?');

const TOOLS = {
    test_elicitation_sep1034_defaults: asking('form', 'elicit', () => form('Defaults', DEFAULTS), completed),
    test_elicitation_sep1330_enums: asking('form', 'elicit', () => form('Choices', ENUMS), completed),
    test_input_required_result_elicitation: named,
    test_input_required_result_sampling: asking('capital', 'sampling', capital, sampled),
    test_input_required_result_list_roots: wantsRoots,
    test_input_required_result_request_state: confirmed,
    test_input_required_result_multiple_inputs: several,
    test_input_required_result_multi_round: twoRounds,
    test_input_required_result_tampered_state: confirmed,
    test_input_required_result_capabilities: capable,
    test_missing_capability: asking('sample', 'sampling', capital, sampled),
    test_streaming_elicitation: asking('answer', 'elicit', () => field('An answer?', 'answer'), elicited),
};

export function addInputTools(server) {
    const add = (name, inputSchema, run) => server.registerTool(name, { description: name, inputSchema }, run);
    for (const [name, run] of Object.entries(TOOLS)) add(name, fromJsonSchema({ type: 'object' }), run);

    const answered = (response) => `LLM response: ${sampled(response)}`;
    add('test_sampling', strings('prompt'), asking('model', 'sampling', ({ prompt }) => sample(prompt), answered));
    const user = ({ message }) => field(message, 'response');
    const said = (response) => `User response: ${elicited(response)}`;
    add('test_elicitation', strings('message'), asking('user', 'elicit', user, said));

    server.registerPrompt('test_input_required_result_prompt', { description: 'Asks for context' }, ({ mcpReq }) => {
        const context = acceptedContent(mcpReq.inputResponses, 'user_context')?.context;
        if (context === undefined) {
            return inputRequired({ inputRequests: { user_context: field('Which context?', 'context') } });
        }
        return { messages: [{ role: 'user', content: { type: 'text', text: `Context: ${context}` } }] };
    });
}
