// Fuzzes the reader of settings files: any bytes give settings or an error, and what was read comes
// back the same after a hand-over.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/settings.h"
#include "tests/fuzz/replay.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto settings = green::settings_from_toml(text);
  if (!settings) return 0;
  const auto back = green::settings_from_toml(green::settings_to_toml(*settings));
  if (!back || *back != *settings) std::abort();
  return 0;
}
