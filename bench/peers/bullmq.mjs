// The processes of BullMQ for jobyard-bench-peers:  node bullmq.mjs ROLE JOBS SLOT BOARD PORT
// It tells the others where it is through the board, a small file whose layout board.hpp defines.

import fs from 'node:fs';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, QueueEvents, Worker } from 'bullmq';

const [role, jobsText, slotText, boardPath, portText] = process.argv.slice(2);
const jobs = Number(jobsText);
const connection = { host: '127.0.0.1', port: Number(portText), maxRetriesPerRequest: null };
const payload = { p: 'x'.repeat(92) };  // 100 bytes as the JSON that BullMQ makes of it
const queueName = 'bench';

const SLOT_BYTES = 512;
const SLOTS = 3;
const MAX_LATENCIES = 8192;
const Field = { ready: 0, go: 1, done: 2, at: 3, began: 4, acked: 5, ended: 6, cpu: 7 };
const ERROR_AT = 64;
const board = fs.openSync(boardPath, 'r+');
const own = Number(slotText) * SLOT_BYTES;
const word = Buffer.alloc(8);

function put(field, value) {
  word.writeBigUInt64LE(BigInt(value));
  fs.writeSync(board, word, 0, 8, own + 8 * field);
}
function get(slot, field) {
  fs.readSync(board, word, 0, 8, slot * SLOT_BYTES + 8 * field);
  return word.readBigUInt64LE();
}
function giveUp(error) {
  const text = Buffer.from(`${error?.message ?? error}`.slice(0, 440) + '\0');
  fs.writeSync(board, text, 0, text.length, own + ERROR_AT);
  process.exit(1);
}
process.on('uncaughtException', giveUp);
process.on('unhandledRejection', giveUp);

const now = () => process.hrtime.bigint();  // the monotonic clock, as in board.hpp

async function work() {
  let done = 0;
  let took = 0n;
  let told = true;
  // Told once for all jobs of a turn of the event loop.
  const tell = () => {
    told = true;
    put(Field.at, took);
    put(Field.done, done);
  };
  const worker = new Worker(queueName, async () => { took = now(); }, { connection, concurrency: 256 });
  worker.on('completed', () => {
    ++done;
    if (!told) return;
    told = false;
    setImmediate(tell);
  });
  worker.on('error', giveUp);
  await worker.waitUntilReady();
  await sleep(200);  // until it waits for jobs
  put(Field.ready, 1);
}

const CHUNK = 500;  // jobs added in one call
const CHUNKS_UNDER_WAY = 4;
const options = { removeOnComplete: true, removeOnFail: true };
const watched = { removeOnComplete: 1000, removeOnFail: true };  // waitUntilFinished() looks for it afterwards

async function submitAll(queue) {
  let left = jobs;
  const submitSome = async () => {
    while (left > 0) {
      const count = Math.min(left, CHUNK);
      left -= count;
      await queue.addBulk(Array.from({ length: count }, () => ({ name: 'job', data: payload, opts: options })));
    }
  };
  await Promise.all(Array.from({ length: CHUNKS_UNDER_WAY }, submitSome));
}

async function oneAtATime(queue, events) {
  const acked = new BigUint64Array(jobs);
  const ended = new BigUint64Array(jobs);
  for (let i = 0; i < jobs; ++i) {
    const began = now();
    const job = await queue.add('job', payload, watched);
    acked[i] = now() - began;
    await job.waitUntilFinished(events);
    ended[i] = now() - began;
  }
  fs.writeSync(board, new Uint8Array(acked.buffer), 0, jobs * 8, SLOTS * SLOT_BYTES);
  fs.writeSync(board, new Uint8Array(ended.buffer), 0, jobs * 8, SLOTS * SLOT_BYTES + MAX_LATENCIES * 8);
}

async function submitter() {
  const queue = new Queue(queueName, { connection });
  await queue.waitUntilReady();
  let events;
  if (role === 'latency') {
    events = new QueueEvents(queueName, { connection });
    await events.waitUntilReady();
    await sleep(200);
  }
  put(Field.ready, 1);
  while (get(Number(slotText), Field.go) === 0n) await sleep(1);
  const cpu = process.cpuUsage();
  put(Field.began, now());
  if (role === 'latency') await oneAtATime(queue, events);
  else await submitAll(queue);
  put(Field.acked, now());
  const used = process.cpuUsage(cpu);
  put(Field.cpu, used.user + used.system);
  put(Field.done, 1);
  process.exit(0);
}

if (role === 'work') await work();
else await submitter();
