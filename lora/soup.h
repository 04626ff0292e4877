// Adapters added up exactly: the sum of their updates, weight_i scale_i B_i A_i, as one adapter.
//
//   B = [w_1 s_1 B_1 ... w_n s_n B_n], A = [A_1; ...; A_n]   (the sum, exactly, with the ranks added)
//   QR(B) = Q_b R_b, QR(A^T) = Q_a R_a, SVD(R_b R_a^T) = U S V^T  ->  B = Q_b U sqrt(S), A = sqrt(S) V^T
//   Q_a^T
//
// cut to `rank`: the best adapter of that rank (Eckart and Young), in O((N + K) r^2); no [N, K] matrix is
// formed. Adding A and B apart, as peft's "linear" does, gives cross terms B_i A_j (references/lora 7).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/adapter_file.h"

namespace decant {

struct SoupReport {
  struct Module {
    std::string name;
    int64_t rank = 0;           // of the sum before it was cut
    double relative_error = 0;  // |cut - sum| / |sum|, Frobenius
  };
  std::vector<Module> modules;
};

// `rank` 0: nothing is cut; one adapter alone with weight 1 comes back as it is, bit for bit. Factors are
// fp32, alpha = rank, no rsLoRA, no patterns but for mixed ranks. A module that some adapters lack counts as
// zero there. Error for none, for a DoRA adapter (its update is not a sum), for rows of tokens, for shapes or
// bases that differ and for weights that are not finite.
Adapter soup(const std::vector<std::pair<Adapter, double>>& adapters, int64_t rank,
             SoupReport* report = nullptr);
std::string soup_report_text(const SoupReport& report);

}  // namespace decant
