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

// Mean and largest difference of log-probability, from golden.jsonl (decant's model in memory) and from what ggml_rounding.py expected.
// F32 files are computed with F32 products and an F32 key/value cache. In the others llama.cpp rounds the input of every product to F16,
// BF16 or Q8_0 (ggml_rounding.py does the same): a last bit that falls to the other side grows to the size of the rounding within a few
// layers, so two layers agree four times better with the expected numbers than with golden.jsonl, and SmolLM2's thirty no better.
const tolerance = {
  F32: {golden: [1e-4, 1e-3], expected: [1e-4, 1e-3]},
  F16: {golden: [5e-3, 5e-2], expected: [1e-3, 5e-3]},
  BF16: {golden: [5e-2, 1.0], expected: [2e-3, 5e-2]},
  Q8_0: {golden: [0.3, 3.0], expected: [5e-2, 0.5]},
};
const deep = {...tolerance, F16: {golden: [5e-3, 5e-2], expected: [5e-3, 5e-2]}, Q8_0: {golden: [0.3, 3.0], expected: [0.3, 3.0]}};

class Differences {
  sum = 0;
  count = 0;
  largest = 0;
  add(a, b) {
    const difference = Math.abs(a - b);
    this.sum += difference;
    this.count += 1;
    if (!(difference <= this.largest)) this.largest = difference;  // a NaN stays
  }
  get mean() {
    return this.sum / this.count;
  }
  within([mean, largest]) {
    return this.count > 100 && this.mean <= mean && this.largest <= largest;
  }
  toString() {
    return `mean ${this.mean.toExponential(2)}, largest ${this.largest.toExponential(2)}`;
  }
}

// The probabilities that llama.cpp gives are divided by a sum of floats: over 49,152 tokens it is off by 1e-4. Ours is of doubles.
function logProbability(probabilities, id) {
  let sum = 0;
  for (const p of probabilities.values()) sum += p;
  return Math.log(probabilities.get(id)) - Math.log(sum);
}

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
    const expectedFile = path.join(folder, name, file + ".expected.json");
    const expected = fs.existsSync(expectedFile) ? JSON.parse(fs.readFileSync(expectedFile, "utf8")) : null;
    const fromGolden = new Differences(), fromExpected = new Differences();
    for (const [n, line] of lines.entries()) {
      await sequence.clearHistory();
      const input = line.ids.map((id, i) => (i + 1 < line.ids.length ? [id, {generateNext: {probabilities: true, options: {temperature: 0, topK: 0, topP: 1, minP: 0}}}] : id));
      const output = await sequence.controlledEvaluate(input);
      for (let i = 0; i + 1 < line.ids.length; i++) {
        const found = logProbability(output[i].next.probabilities, line.ids[i + 1]);
        fromGolden.add(found, line.log_probabilities[i]);
        if (expected) fromExpected.add(found, expected[n][i]);
      }
    }
    const allowed = (name === "smollm2" ? deep : tolerance)[type];
    console.log(`${name}/${file}: ${texts} texts tokenized alike, ${fromGolden.count} log-probabilities, ${fromGolden}; from the expected ones ${expected ? fromExpected : "not compared (no Python peers)"}`);
    if (!fromGolden.within(allowed.golden)) problems.push(`${name}/${file}: ${fromGolden}`);
    if (expected && !fromExpected.within(allowed.expected)) problems.push(`${name}/${file}, from the expected ones: ${fromExpected}`);
    files += 1;
    await context.dispose();
    await model.dispose();
  }
}
for (const problem of problems) console.error("error:", problem);
console.log(`${files} files`);
process.exit(problems.length || files < 24 ? 1 : 0);
