// The real llama.cpp loads the exported GGUF files, tokenizes the same and agrees in log-probability.
//   node llama_cpp_test.mjs FOLDER NODE_MODULES     (FOLDER made by make_releases)
import fs from "fs";
import path from "path";
import {pathToFileURL} from "url";

const [folder, modules] = process.argv.slice(2);
const entry = path.join(modules ?? "", "node-llama-cpp/dist/index.js");
if (!modules || !fs.existsSync(entry)) {
  console.log("skipped: no node-llama-cpp in DECANT_NODE_MODULES");
  process.exit(77);
}
const {getLlama} = await import(pathToFileURL(entry));
const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: "error"});

// F32 files have the weights of golden.jsonl, and llama.cpp computes with them in F32 (F32 key/value cache). In the others it rounds
// the activations of each product to F16, BF16 or Q8_0 as well, so they only say that nothing is wrong in kind.
const tolerance = {F32: {mean: 1e-4, largest: 1e-3}, F16: {mean: 5e-3, largest: 5e-2}, BF16: {mean: 5e-2, largest: 1.0}, Q8_0: {mean: 0.3, largest: 3.0}};
const problems = [];
let files = 0;

for (const name of fs.readdirSync(folder).sort()) {
  const release = path.join(folder, name, "release");
  const lines = fs.readFileSync(path.join(release, "golden.jsonl"), "utf8").trim().split("\n").slice(1).map((l) => JSON.parse(l)).filter((l) => l.artefact === "model");
  for (const file of fs.readdirSync(release).filter((f) => f.endsWith(".gguf")).sort()) {
    const type = file.match(/-([A-Z0-9_]+)\.gguf$/)[1];
    const model = await llama.loadModel({modelPath: path.join(release, file), useMmap: false});
    let texts = 0;
    for (const line of lines) {
      const ids = Array.from(model.tokenize(line.text, true));
      const same = line.ids.every((id, i) => ids[i] === id) && (!line.whole || ids.length === line.ids.length);
      if (!same) problems.push(`${name}/${file}: other ids for ${JSON.stringify(line.text)}: ${ids.slice(0, 20)} instead of ${line.ids.slice(0, 20)}`);
      texts += 1;
    }
    const context = await model.createContext({contextSize: 256, batchSize: 256, threads: 1, sequences: 1, flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"});
    const sequence = context.getSequence();
    let sum = 0, count = 0, largest = 0;
    for (const line of lines) {
      await sequence.clearHistory();
      const input = line.ids.map((id, i) => (i + 1 < line.ids.length ? [id, {generateNext: {probabilities: true, options: {temperature: 0, topK: 0, topP: 1, minP: 0}}}] : id));
      const output = await sequence.controlledEvaluate(input);
      for (let i = 0; i + 1 < line.ids.length; i++) {
        const found = Math.log(output[i].next.probabilities.get(line.ids[i + 1]));
        const difference = Math.abs(found - line.log_probabilities[i]);
        sum += difference;
        count += 1;
        if (!(difference <= largest)) largest = difference;
      }
    }
    const mean = sum / count;
    console.log(`${name}/${file}: ${texts} texts tokenized alike, ${count} log-probabilities, mean difference ${mean.toExponential(2)}, largest ${largest.toExponential(2)}`);
    if (!(count > 100 && mean <= tolerance[type].mean && largest <= tolerance[type].largest)) problems.push(`${name}/${file}: mean ${mean}, largest ${largest}`);
    files += 1;
    await context.dispose();
    await model.dispose();
  }
}
for (const problem of problems) console.error("error:", problem);
console.log(`${files} files`);
process.exit(problems.length || files < 24 ? 1 : 0);
