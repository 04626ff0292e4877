// The rows that a training takes, for a peer that is to take the same ones in the same order.
//   interop_training_rows SHARDS TOKENS_PER_STEP SEED STEPS      steps of a training, in micro-batches of a
//   whole step interop_training_rows SHARDS TOKENS                          all rows, as they are measured
// prints a line for each step: [[[id, ...], [weight, ...]], ...], a pair for each document.
#include <ATen/ATen.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "data_pipeline/batch_source.h"
#include "tests/support/guarded_main.h"

namespace decant {
namespace {

Json documents_of(const Batch& batch) {
  Json documents = Json::array();
  const int32_t* starts = batch.document_starts.const_data_ptr<int32_t>();
  const int64_t* ids = batch.tokens.const_data_ptr<int64_t>();
  const float* weights = batch.loss_weight.const_data_ptr<float>();
  for (int64_t d = 0; d + 1 < batch.document_starts.size(0); ++d) {
    Json document = {Json::array(), Json::array()};
    for (int32_t t = starts[d]; t < starts[d + 1]; ++t) {
      document[0].push_back(ids[t]);
      document[1].push_back(weights[t]);
    }
    documents.push_back(std::move(document));
  }
  return documents;
}

int run(int count, char** arguments) {
  check(count == 3 || count == 5, "usage: interop_training_rows SHARDS TOKENS_PER_STEP [SEED STEPS], found ",
        count - 1, " arguments");
  const int64_t tokens = std::atoll(arguments[2]);
  if (count == 3) {
    for (const Batch& batch : read_all_batches(arguments[1], tokens))
      std::printf("%s\n", documents_of(batch).dump().c_str());
    return 0;
  }
  const StepBatches batches = open_batches(arguments[1], {tokens, tokens, std::atoll(arguments[3])}, "", "");
  for (int64_t step = 0; step < std::atoll(arguments[4]); ++step)
    for (const Batch& batch : batches.step(step)) std::printf("%s\n", documents_of(batch).dump().c_str());
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) { return decant::test::guarded_main(decant::run, count, arguments); }
