#include "core/tensor_memory.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <random>
#include <thread>

namespace decant {
namespace {

class TensorArena : public testing::Test {
 protected:
  void SetUp() override {
    if (!use_tensor_arena()) GTEST_SKIP() << "no arena in this build or under this limit";
  }
};

int64_t faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST_F(TensorArena, TensorsKeepTheirValuesWhateverIsFreedBesideThem) {
  std::mt19937 random(7);
  std::vector<std::pair<at::Tensor, int>> alive;
  for (int i = 0; i < 600; ++i) {
    if (alive.size() > 40 || (!alive.empty() && random() % 3 == 0)) {
      const auto at = random() % alive.size();
      const auto& [tensor, value] = alive[at];
      ASSERT_TRUE(tensor.eq(value).all().item<bool>()) << "tensor made in round " << value;
      alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      alive.emplace_back(at::full({static_cast<int64_t>(random() % 90000) + 1}, i, at::kInt), i);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(alive.back().first.data_ptr()) % 64, 0U);
    }
  }
}

TEST_F(TensorArena, WhatIsFreedIsUsedAgainAndJoined) {
  const auto before = tensor_memory();
  {
    std::vector<at::Tensor> pieces;
    for (int i = 0; i < 16; ++i) pieces.push_back(at::zeros({1 << 18}, at::kFloat));
    EXPECT_GE(tensor_memory().used, before.used + 16 * (1 << 20));
  }
  EXPECT_EQ(tensor_memory().used, before.used);
  const auto held = tensor_memory();
  const auto whole = at::zeros({16 << 18}, at::kFloat);  // the sixteen pieces, joined
  EXPECT_EQ(tensor_memory().growths, held.growths);
  EXPECT_EQ(tensor_memory().held, held.held);
}

TEST_F(TensorArena, ARepeatedStepFaultsNothing) {
  const auto step = [] {
    auto x = at::ones({1024, 1024}, at::kFloat);
    for (int i = 0; i < 8; ++i) x = x + 1;
    return x;
  };
  step();
  step();
  const auto growths = tensor_memory().growths, begin = faults();
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(tensor_memory().growths, growths);
  EXPECT_LT(faults() - begin, 1000);  // malloc: 80 MB of fresh pages a round, 20,000 faults and more
}

TEST_F(TensorArena, ReleasedPagesComeBackAsZeroesAndLivingTensorsStay) {
  const auto stays = at::full({1 << 20}, 5, at::kInt);
  void* freed = nullptr;
  {
    const auto gone = at::full({1 << 20}, 6, at::kInt);
    freed = gone.data_ptr();
  }
  release_tensor_memory();
  const auto again = at::empty({1 << 20}, at::kInt);
  EXPECT_EQ(again.data_ptr(), freed);
  EXPECT_EQ(again[12345].item<int>(), 0);
  EXPECT_TRUE(stays.eq(5).all().item<bool>());
}

TEST_F(TensorArena, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 300; ++i) {
        const auto x = at::full({20000 + 100 * i}, t, at::kInt);
        ASSERT_TRUE(x.eq(t).all().item<bool>());
      }
    });
  for (auto& thread : threads) thread.join();
}

TEST_F(TensorArena, ATensorBeyondAllMemoryIsAnErrorThatSaysSo) {
  try {
    at::empty({int64_t{1} << 60}, at::kByte);
    FAIL() << "no error";
  } catch (const c10::Error& e) {
    EXPECT_NE(std::string(e.what()).find("not enough memory"), std::string::npos) << e.what();
  }
  EXPECT_TRUE(at::ones({1 << 20}).eq(1).all().item<bool>());  // and the arena goes on
}

}  // namespace
}  // namespace decant
