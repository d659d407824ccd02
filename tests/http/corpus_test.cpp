// Replays tests/http/cases/*.md against the real server; see cases/README.md for the form.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <vector>

#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using Lines = std::vector<std::string>;

struct Case {
  std::string file;
  std::string title;
  std::string request{};
  Lines calls{};
  Lines replies{};
};

void PrintTo(const Case& the_case, std::ostream* out) {
  *out << the_case.file << ": " << the_case.title;
}

std::string unescape(std::string_view line) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\' || i + 1 == line.size()) {
      text.push_back(line[i]);
      continue;
    }
    switch (line[++i]) {
      case 'r':
        text.push_back('\r');
        break;
      case 'n':
        text.push_back('\n');
        break;
      case 't':
        text.push_back('\t');
        break;
      case '0':
        text.push_back('\0');
        break;
      case 'x':
        text.push_back(
            static_cast<char>(std::stoi(std::string(line.substr(i + 1, 2)), nullptr, 16)));
        i += 2;
        break;
      default:
        text.push_back(line[i]);
    }
  }
  return text;
}

std::string join_request(const Lines& lines) {
  std::string request;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string_view line = lines[i];
    const bool no_end = i + 1 == lines.size() || line.ends_with('\\');
    if (line.ends_with('\\')) line.remove_suffix(1);
    request += unescape(line);
    if (!no_end) request += "\r\n";
  }
  return request;
}

std::vector<Case> read_cases(const std::filesystem::path& path) {
  std::vector<Case> cases;
  std::ifstream file(path);
  std::string line, block;
  Lines lines;
  while (std::getline(file, line)) {
    if (!block.empty() && line != "```") {
      lines.push_back(line);
    } else if (!block.empty()) {
      if (block == "request") cases.back().request = join_request(lines);
      if (block == "calls") cases.back().calls = lines;
      if (block == "replies") cases.back().replies = lines;
      block.clear();
    } else if (line.starts_with("## ")) {
      cases.push_back({.file = path.filename(), .title = line.substr(3)});
    } else if (line.starts_with("```")) {
      block = line.substr(3);
      lines.clear();
    }
  }
  return cases;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& entry : std::filesystem::directory_iterator(GREEN_HTTP_CASES)) {
    if (entry.path().extension() != ".md") continue;
    std::ranges::move(read_cases(entry.path()), std::back_inserter(cases));
  }
  return cases;
}

/// "200", "200 close", …, "end" as in the replies block.
Lines describe_replies(std::string_view bytes, bool ended, const Lines& expected) {
  Lines replies;
  while (!bytes.empty()) {
    const auto end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos || !bytes.starts_with("HTTP/1.1 ")) {
      replies.push_back("garbage: " + std::string(bytes));
      break;
    }
    const auto head = bytes.substr(0, end + 2);
    bytes.remove_prefix(end + 4);
    std::string reply(head.substr(9, 3));
    if (reply == "100") continue;
    const auto length_at = head.find("Content-Length: ");
    std::size_t length = length_at == std::string_view::npos
                             ? 0
                             : std::stoul(std::string(head.substr(length_at + 16)));
    const auto index = replies.size();
    if (index < expected.size() && expected[index].ends_with(" head")) {
      reply += " head";
      length = 0;
    }
    if (head.find("Connection: close\r\n") != std::string_view::npos) reply += " close";
    if (bytes.size() < length) reply += " cut";
    bytes.remove_prefix(std::min(bytes.size(), length));
    replies.push_back(reply);
  }
  if (ended) replies.push_back("end");
  return replies;
}

class Corpus : public testing::ServerFixture, public ::testing::WithParamInterface<Case> {
 protected:
  struct Outcome {
    std::vector<testing::SeenRequest> calls;
    Lines replies;
  };

  Outcome replay(const std::vector<std::string_view>& parts) {
    application.requests.clear();
    const auto client = connect();
    std::string replies;
    bool ended = false;
    for (const auto part : parts) {
      // The server may have refused the rest already.
      (void)::send(client.get(), part.data(), part.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      EXPECT_TRUE(reactor->turn(false));
    }
    turn(3);
    replies += take(client, &ended);
    return {application.requests, describe_replies(replies, ended, GetParam().replies)};
  }

  using SeenHeader = std::pair<std::string, std::string>;
  static bool is(const SeenHeader& header, std::string_view line) {
    return header.first + ": " + header.second == line;
  }

  void check(const Outcome& outcome) {
    EXPECT_EQ(outcome.replies, GetParam().replies);
    std::size_t index = 0;
    std::size_t checked = 0;  // headers up to here: those that are listed come in this order
    const testing::SeenRequest* call = nullptr;
    for (const std::string& line : GetParam().calls) {
      if (!line.starts_with("  ")) {
        ASSERT_LT(index, outcome.calls.size()) << "no call " << line;
        call = &outcome.calls[index++];
        checked = 0;
        EXPECT_EQ(call->method + " " + call->target, line);
        continue;
      }
      const std::string expected = unescape(std::string_view(line).substr(2));
      if (expected.starts_with("path=")) {
        EXPECT_EQ("path=" + call->path, expected);
      } else if (expected.starts_with("query=")) {
        EXPECT_EQ("query=" + call->query, expected);
      } else if (expected.starts_with("body=")) {
        EXPECT_EQ("body=" + call->body, expected);
      } else if (expected.starts_with("without ")) {
        const auto unwanted = std::string_view(expected).substr(8);
        EXPECT_FALSE(std::ranges::any_of(call->headers, [&](const SeenHeader& header) {
          return header.first == unwanted || is(header, unwanted);
        })) << expected;
      } else {
        while (checked < call->headers.size() && !is(call->headers[checked], expected)) ++checked;
        EXPECT_LT(checked++, call->headers.size()) << "no header " << expected;
      }
    }
    EXPECT_EQ(outcome.calls.size(), index) << "more calls than expected";
  }
};

TEST_P(Corpus, ReplayedWholeDoesWhatItSays) { check(replay({GetParam().request})); }

TEST_P(Corpus, ReplayedByteByByteDoesTheSame) {
  std::vector<std::string_view> parts;
  for (std::size_t i = 0; i < GetParam().request.size(); ++i) {
    parts.push_back(std::string_view(GetParam().request).substr(i, 1));
  }
  check(replay(parts));
}

TEST_P(Corpus, SplitAtAnyByteDoesTheSame) {
  const std::string_view request = GetParam().request;
  for (std::size_t i = 1; i < request.size(); ++i) {
    SCOPED_TRACE("split at byte " + std::to_string(i));
    check(replay({request.substr(0, i), request.substr(i)}));
    if (HasFailure()) return;
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name;
  bool upper = true;
  for (const char c : info.param.title) {
    if (!std::isalnum(static_cast<unsigned char>(c))) {
      upper = true;
      continue;
    }
    name.push_back(upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c);
    upper = false;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, Corpus, ::testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace green::http
