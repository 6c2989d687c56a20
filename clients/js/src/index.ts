export { createClient } from './client.js';
export { local, memory } from './stores.js';
export { DoorwardError } from './wire.js';
export type { Stored } from './rules.js';
export type * from './types.js';
