// Laws that hold bit for bit need products in panels (core/kernels/gemm.h); the plain forms have none.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/kernels/gemm.h"

#define DECANT_NEEDS_PANELS() \
  if (decant::use_plain_kernels(at::zeros({1}))) GTEST_SKIP() << "the plain kernels have no panels"
