#include "core/torch_header.h"
