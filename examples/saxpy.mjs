// node saxpy.mjs /jax: a conversation from JavaScript, with typed arrays as raw bytes.
import { openSync, readSync, writeSync } from "node:fs";

const call = openSync(`${process.argv[2]}/programs/saxpy/call.raw`, "r+");
writeSync(call, new Float32Array([1, 2, 3, 4, 10, 20, 30, 40]));
const z = new Float32Array(4);
readSync(call, z);
console.log([...z].map((value) => value.toFixed(1)).join(" "));
