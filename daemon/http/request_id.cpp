#include "daemon/http/request_id.h"

#include <sys/random.h>

#include <algorithm>

#include "daemon/http/ascii.h"

namespace green::http {
namespace {

constexpr std::size_t longest_id = 128;
constexpr std::size_t id_bytes = 16;
constexpr auto id_characters = make_set("-_.:+/=@");

}  // namespace

bool is_request_id(std::string_view text) {
  return !text.empty() && text.size() <= longest_id && std::ranges::all_of(text, [](char c) {
    return id_characters[static_cast<unsigned char>(c)];
  });
}

void RequestIdSource::next(std::string& id) {
  constexpr std::string_view digits = "0123456789abcdef";
  if (used_ + id_bytes > stock_.size()) {
    for (std::size_t filled = 0; filled < stock_.size();) {
      const auto count = ::getrandom(stock_.data() + filled, stock_.size() - filled, 0);
      if (count > 0) filled += static_cast<std::size_t>(count);
    }
    used_ = 0;
  }
  id.clear();
  for (std::size_t i = used_; i < used_ + id_bytes; ++i) {
    id += digits[stock_[i] >> 4];
    id += digits[stock_[i] & 15];
  }
  used_ += id_bytes;
}

}  // namespace green::http
