#include "common/request_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "common/request_note.h"

namespace green {
namespace {

constexpr std::array<std::string_view, 8> state_names{"reading",   "waiting",  "running",
                                                      "streaming", "replying", "background",
                                                      "abandoned", "websocket"};

/// Takes what is before the first `separator`, and that, off the text.
std::optional<std::string_view> take(std::string_view& text, char separator) {
  const auto end = text.find(separator);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end + 1);
  return part;
}

std::optional<std::uint64_t> number(std::optional<std::string_view> text) {
  std::uint64_t value = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

std::optional<ListedRequest> read_line(std::string_view line) {
  const auto state = take(line, '\t');
  const auto since = number(take(line, '\t'));
  const auto client = take(line, '\t');
  const auto* const known = state ? std::ranges::find(state_names, *state) : state_names.end();
  if (known == state_names.end() || !since || !client) return std::nullopt;
  return ListedRequest{.state = static_cast<RequestState>(known - state_names.begin()),
                       .since_usec = *since,
                       .request = fit_for_a_line(line),
                       .client = fit_for_a_line(*client)};
}

}  // namespace

std::string_view request_state_name(RequestState state) {
  return state_names.at(static_cast<std::size_t>(state));
}

RequestList shortened(std::vector<ListedRequest> all) {
  const auto place = [](const ListedRequest& one) {
    return std::pair(one.state == RequestState::websocket, one.since_usec);
  };
  std::ranges::stable_sort(all, {}, place);
  RequestList list;
  if (all.size() > most_listed_requests) {
    list.unlisted = all.size() - most_listed_requests;
    all.resize(most_listed_requests);
  }
  list.requests = std::move(all);
  return list;
}

std::string request_list_to_text(const RequestList& list) {
  std::string text = fmt::format("{}\n", list.unlisted);
  for (const ListedRequest& one : list.requests)
    text += fmt::format("{}\t{}\t{}\t{}\n", request_state_name(one.state), one.since_usec,
                        fit_for_a_line(one.client), fit_for_a_line(one.request));
  return text;
}

Result<RequestList> request_list_from_text(std::string_view text) {
  const auto unlisted = number(take(text, '\n'));
  if (!unlisted) return fail(ErrorCode::protocol, "a list of requests without a count");
  RequestList list{.requests = {}, .unlisted = *unlisted};
  while (!text.empty()) {
    const auto line = take(text, '\n');
    auto one = line ? read_line(*line) : std::nullopt;
    if (!one || list.requests.size() == most_listed_requests)
      return fail(ErrorCode::protocol, "a list of requests that is none");
    list.requests.push_back(std::move(*one));
  }
  return list;
}

}  // namespace green
