// X-Request-ID: one that a trusted proxy sent, or a new one. Loop thread.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace green::http {

/// Who wants to know a request's id; each includes those before it.
enum class RequestIdUse { nobody, access_log, environ, reply };

/// 1 to 128 of letters, digits and -_.:+/=@: nothing that could end a header, a line or a field.
bool is_request_id(std::string_view text);

/// 32 hexadecimal digits, 128 random bits of the kernel's, which are asked for in stock.
class RequestIdSource {
 public:
  void next(std::string& id);

 private:
  std::array<unsigned char, 1024> stock_{};
  std::size_t used_ = sizeof stock_;
};

}  // namespace green::http
