#include "data_pipeline/packing.h"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>

#include "core/error.h"

namespace decant {

std::vector<std::vector<int64_t>> pack_best_fit(const std::vector<int64_t>& lengths, int64_t row_length) {
  std::vector<size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  std::vector<std::vector<int64_t>> rows;
  std::map<int64_t, std::deque<size_t>> rows_by_room;
  for (const size_t document : order) {
    const int64_t length = lengths[document];
    check(length >= 1 && length <= row_length, "packing: document ", document, " has ", length,
          " tokens, expected 1 to ", row_length);
    size_t row = rows.size();
    int64_t room = row_length;
    const auto fit = rows_by_room.lower_bound(length);
    if (fit != rows_by_room.end()) {
      row = fit->second.front();
      room = fit->first;
      fit->second.pop_front();
      if (fit->second.empty()) rows_by_room.erase(fit);
    } else {
      rows.emplace_back();
    }
    rows[row].push_back(static_cast<int64_t>(document));
    if (room > length) rows_by_room[room - length].push_back(row);
  }
  return rows;
}

}  // namespace decant
