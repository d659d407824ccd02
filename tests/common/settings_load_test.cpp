#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/settings.h"

namespace green {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class LoadSettings : public testing::Test {
 protected:
  LoadSettings() {
    std::string pattern = testing::TempDir() + "green-settings-XXXXXX";
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ / "site.toml";
  }
  ~LoadSettings() override { std::filesystem::remove_all(folder_); }

  void write_file(std::string_view text) {
    std::ofstream(path_) << text;
    sources_.file = path_;
  }
  void set_environment(std::map<std::string, std::string> variables) {
    sources_.environment_names.clear();
    for (const auto& [name, value] : variables) sources_.environment_names.push_back(name);
    sources_.environment = [variables](const char* name) -> const char* {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    };
  }
  std::string failure() {
    const auto loaded = load_settings(sources_);
    if (loaded.has_value()) return "(no failure)";
    EXPECT_EQ(loaded.error().code(), ErrorCode::configuration);
    EXPECT_EQ(loaded.error().message().find('\n'), std::string::npos);
    return loaded.error().message();
  }
  /// The failure of a file with this one line after `app`.
  std::string failure_of(std::string_view line) {
    write_file("app = \"site\"\n" + std::string(line) + "\n");
    return failure();
  }
  std::string in_file(int line, std::string_view rest) {
    return path_.string() + ":" + std::to_string(line) + ": " + std::string(rest);
  }

  std::filesystem::path folder_, path_;
  SettingSources sources_;
};

TEST_F(LoadSettings, TakesTheStrongestSourceAndSaysWhich) {
  write_file("app = \"file\"\nworkers = 3\ntimeout = 1.5\nprobe = \"/file\"\n");
  set_environment({{"GREEN_WORKERS", "4"}, {"GREEN_TIMEOUT", "2min"}});
  sources_.command_line["workers"] = {"5"};
  const auto loaded = load_settings(sources_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  EXPECT_EQ(loaded->values.workers, 5);
  EXPECT_EQ(loaded->origins.at("workers"), "command line");
  EXPECT_EQ(loaded->values.timeout, std::chrono::minutes(2));
  EXPECT_EQ(loaded->origins.at("timeout"), "environment GREEN_TIMEOUT");
  EXPECT_EQ(loaded->values.probe, "/file");
  EXPECT_EQ(loaded->origins.at("probe"), path_.string() + ":4");
  EXPECT_EQ(loaded->origins.at("keepalive"), "default");
  EXPECT_EQ(loaded->origins.size(), settings_table().size());
}

TEST_F(LoadSettings, ReadsListsFromEverySource) {
  write_file("app = \"a\"\nbind = \"127.0.0.1:1\"\npythonpath = [\"lib\", \"more\"]\n");
  auto loaded = load_settings(sources_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  EXPECT_EQ(loaded->values.bind, StringList{"127.0.0.1:1"});
  EXPECT_EQ(loaded->values.pythonpath, (StringList{"lib", "more"}));

  set_environment({{"GREEN_BIND", "127.0.0.1:2, unix:/run/x.sock,"}});
  loaded = load_settings(sources_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  EXPECT_EQ(loaded->values.bind, (StringList{"127.0.0.1:2", "unix:/run/x.sock"}));

  sources_.command_line["bind"] = {"[::1]:3", "localhost:4"};
  loaded = load_settings(sources_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  EXPECT_EQ(loaded->values.bind, (StringList{"[::1]:3", "localhost:4"}));
}

TEST_F(LoadSettings, AddsVariablesOfTheApplicationUpOneByOne) {
  write_file("app = \"a\"\n[env]\nA = \"file\"\nB = \"file\"\nC = \"file\"\n");
  set_environment({{"GREEN_ENV", "B=environment,C=environment"}});
  sources_.command_line["env"] = {"C=command=line, with comma", "D="};
  const auto loaded = load_settings(sources_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  EXPECT_EQ(
      loaded->values.env,
      (StringMap{
          {"A", "file"}, {"B", "environment"}, {"C", "command=line, with comma"}, {"D", ""}}));
}

TEST_F(LoadSettings, KnowsTheWordAutoForWorkers) {
  for (const char* line : {"workers = \"auto\"", "workers = 7"}) {
    write_file("app = \"a\"\n" + std::string(line) + "\n");
    sources_.command_line["workers"] = {"auto"};
    const auto loaded = load_settings(sources_);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
    EXPECT_EQ(loaded->values.workers, default_settings().workers);
  }
}

TEST_F(LoadSettings, NamesAnUnknownKeyAndTheNearestOne) {
  EXPECT_EQ(failure_of("\nwrokers = 3"),
            in_file(3, R"(unknown setting "wrokers"; did you mean "workers"?)"));
  EXPECT_EQ(failure_of("[server]\nport = 80"),
            in_file(2, R"x(unknown setting "server"; green.toml(5) lists them all)x"));
}

TEST_F(LoadSettings, NamesTheFirstOfSeveralMistakes) {
  EXPECT_THAT(failure_of("zzz = 1\naaa = 2"), HasSubstr(":2: unknown setting \"zzz\""));
}

TEST_F(LoadSettings, RefusesNumbersOutOfBounds) {
  EXPECT_EQ(failure_of("\nworkers = -1"), in_file(3, "workers = -1: must be between 1 and 512"));
  EXPECT_EQ(failure_of("workers = 0"), in_file(2, "workers = 0: must be between 1 and 512"));
  EXPECT_EQ(failure_of("workers = 513"), in_file(2, "workers = 513: must be between 1 and 512"));
  EXPECT_THAT(failure_of("timeout = -1"), EndsWith("must be between 0 and 86400 seconds"));
  EXPECT_THAT(failure_of("timeout = \"25h\""), EndsWith("must be between 0 and 86400 seconds"));
  EXPECT_THAT(failure_of("timeout = 9223372036854775807"), HasSubstr("must be between"));
  EXPECT_THAT(failure_of("timeout = nan"), HasSubstr("too long"));
  EXPECT_THAT(failure_of("timeout = inf"), HasSubstr("too long"));
  EXPECT_THAT(failure_of("workers = 99999999999999999999"), HasSubstr(":2: TOML syntax error"));
}

TEST_F(LoadSettings, RefusesValuesOfAnotherType) {
  EXPECT_EQ(failure_of("workers = \"two\""),
            in_file(2, R"(workers = "two": must be a whole number between 1 and 512, or auto)"));
  EXPECT_THAT(failure_of("workers = 2.0"), HasSubstr("must be a whole number"));
  EXPECT_THAT(failure_of("workers = true"), HasSubstr("must be a whole number"));
  EXPECT_THAT(failure_of("timeout = \"soon\""), HasSubstr("number of seconds"));
  EXPECT_THAT(failure_of("timeout = true"), HasSubstr("number of seconds"));
  EXPECT_THAT(failure_of("probe = 1"), HasSubstr("must be a string"));
  EXPECT_THAT(failure_of("bind = 8000"), HasSubstr("string or an array of strings"));
  EXPECT_THAT(failure_of("bind = [\"127.0.0.1:1\", 2]"),
              HasSubstr("string or an array of strings"));
  EXPECT_THAT(failure_of("env = \"A=B\""), HasSubstr("table of strings"));
  EXPECT_THAT(failure_of("preload = true"), EndsWith("must be auto, on or off, in quotes"));
  EXPECT_THAT(failure_of("preload = \"maybe\""), EndsWith("must be auto, on or off"));
  EXPECT_THAT(failure_of("preload = \"auto|on\""), EndsWith("must be auto, on or off"));
  EXPECT_THAT(failure_of("log_level = \"\""), HasSubstr("must be error, warning"));
}

TEST_F(LoadSettings, ReadsEveryFormOfADuration) {
  const std::pair<const char*, std::int64_t> forms[] = {
      {"30", 30'000'000},    {"0", 0},
      {"0.25", 250'000},     {"500ms", 500'000},
      {"1.5s", 1'500'000},   {"2 min", 120'000'000},
      {"1h", 3'600'000'000}, {" 7s ", 7'000'000}};
  for (const auto& [text, expected] : forms) {
    sources_.command_line = {{"app", {"a"}}, {"timeout", {text}}};
    const auto loaded = load_settings(sources_);
    ASSERT_TRUE(loaded.has_value()) << text << ": " << loaded.error().message();
    EXPECT_EQ(loaded->values.timeout.count(), expected) << text;
  }
  for (const char* text :
       {"", "s", "1x", "1 2", "--1", "1e3", "0x10", "1,5", "99999999999999999h"}) {
    sources_.command_line["timeout"] = {text};
    EXPECT_THAT(failure(), HasSubstr("--timeout")) << text;
  }
}

TEST_F(LoadSettings, ChecksTheSyntaxOfAddresses) {
  for (const char* good : {"127.0.0.1:8000", "localhost:0", "[::]:65535", "[fe80::1%eth0]:80",
                           "unix:/run/x.sock", "my-host.example:80"})
    EXPECT_EQ(failure_of("bind = \"" + std::string(good) + "\""), "(no failure)") << good;
  for (const char* bad : {"", "8000", ":8000", "host:", "host:65536", "host:-1", "host:80x",
                          "::1:80", "[::1]", "[x]:1", "[127.0.0.1]:1", "300.1.1.1:80", "ho st:80",
                          "unix:relative.sock", "unix:", "unix:@abstract"})
    EXPECT_THAT(failure_of("bind = \"" + std::string(bad) + "\""),
                HasSubstr(":2: bind: \"" + std::string(bad)))
        << bad;
  EXPECT_THAT(failure_of("bind = \"unix:/" + std::string(107, 'x') + "\""),
              HasSubstr("at most 107 bytes"));
  EXPECT_THAT(failure_of("bind = []"), HasSubstr("at least one address"));
}

TEST_F(LoadSettings, ChecksTheSyntaxOfTheApplication) {
  for (const char* good : {"a", "a.b_2.c", "a:b", "a.b:c.d", "a:make()", "größe:äpp"}) {
    sources_.command_line["app"] = {good};
    EXPECT_EQ(failure(), "(no failure)") << good;
  }
  for (const char* bad : {"a/b.py", "a b", ":b", "a:", "a:b()()", "a:b(1)", "a..b", ".a", "a.",
                          "2a", "a:b:c", "a-b:c"}) {
    sources_.command_line["app"] = {bad};
    EXPECT_THAT(failure(), HasSubstr("application=" + std::string(bad) + ": must be")) << bad;
  }
}

TEST_F(LoadSettings, AsksForAnApplication) {
  EXPECT_THAT(failure(), HasSubstr("no application is named: give one as module:attr"));
  write_file("workers = 2\n");
  EXPECT_THAT(failure(),
              HasSubstr("site.toml: no application is named: add app = \"module:attr\""));
}

TEST_F(LoadSettings, SaysWhatToDoAboutAMissingFile) {
  sources_.file = path_;
  EXPECT_THAT(failure(),
              testing::StartsWith(path_.string() + ": No such file or directory; create it"));
}

TEST_F(LoadSettings, RefusesWhatIsNoRegularFile) {
  sources_.file = folder_;
  EXPECT_EQ(failure(), folder_.string() + ": is not a regular file");
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  sources_.file = path_;
  EXPECT_EQ(failure(), path_.string() + ": is not a regular file");
}

TEST_F(LoadSettings, RefusesAFileOfUnreasonableSize) {
  write_file("app = \"a\"\n#" + std::string(1U << 20, 'x'));
  EXPECT_THAT(failure(), EndsWith("is larger than 1 MiB"));
}

TEST_F(LoadSettings, ChecksThatNamedFoldersExist) {
  EXPECT_EQ(failure_of("chdir = \"/no/such/folder\""),
            in_file(2, "chdir = \"/no/such/folder\": No such file or directory"));
  EXPECT_THAT(failure_of("chdir = \"" + path_.string() + "\""), EndsWith("must be a directory"));
  EXPECT_EQ(failure_of("chdir = \"" + folder_.string() + "\""), "(no failure)");
  EXPECT_THAT(failure_of("python = \"/no/such/venv\""),
              HasSubstr("no such virtual environment or interpreter"));
  EXPECT_THAT(failure_of("pythonpath = [\"/no/such\"]"),
              HasSubstr("pythonpath: /no/such: No such file"));
}

TEST_F(LoadSettings, ChecksTheProxiesThatAreBelieved) {
  EXPECT_EQ(failure_of("forwarded_allow_ips = [\"10.0.0.0/8\", \"2001:db8::1\", \"unix:\"]"),
            "(no failure)");
  EXPECT_EQ(failure_of("forwarded_allow_ips = \"*\""), "(no failure)");
  EXPECT_EQ(failure_of("forwarded_allow_ips = []"), "(no failure)");
  EXPECT_EQ(failure_of("forwarded_allow_ips = \"proxy.example\""),
            in_file(2, R"(forwarded_allow_ips: "proxy.example" is no IP address or network)"));
  EXPECT_THAT(failure_of("forwarded_allow_ips = \"10.0.0.1/8\""), HasSubstr("10.0.0.0/8"));
}

TEST_F(LoadSettings, AsksForASpoolFolderThatIsThere) {
  EXPECT_EQ(failure_of("spool_directory = \"" + folder_.string() + "\""), "(no failure)");
  EXPECT_THAT(failure_of("spool_directory = \"/no/such\""), HasSubstr("No such file"));
  EXPECT_THAT(failure_of("spool_directory = \"\""), HasSubstr("must be an absolute path"));
  EXPECT_THAT(failure_of("spool_directory = \"tmp\""), HasSubstr("must be an absolute path"));
}

TEST_F(LoadSettings, RefusesLimitsThatWouldServeNobody) {
  for (const char* line :
       {"worker_connections = 0", "limit_request_line = 0", "limit_request_fields = 0",
        "limit_request_field_size = 0", "limit_request_head = 0", "request_head_timeout = 0",
        "request_body_timeout = 0", "send_timeout = 0"})
    EXPECT_THAT(failure_of(line), HasSubstr("between")) << line;
  EXPECT_EQ(failure_of("limit_request_body = 0"), "(no failure)") << "none";
}

TEST_F(LoadSettings, ChecksTheProbePath) {
  EXPECT_THAT(failure_of("probe = \"health\""), HasSubstr("must be a path"));
  EXPECT_THAT(failure_of("probe = \"/a b\""), HasSubstr("must be a path"));
  EXPECT_THAT(failure_of("script_name = \"shop\""), HasSubstr("must be a path such as"));
  EXPECT_THAT(failure_of("script_name = \"/shop/\""), HasSubstr("without a / at its end"));
  EXPECT_THAT(failure_of("script_name = \"/\""), HasSubstr("must be a path such as"));
  EXPECT_THAT(failure_of("probe = \"/a\\r\\nX: y\""), HasSubstr("must be a path"));
  EXPECT_THAT(failure_of("probe_status = [\"2xx\", \"2x\"]"),
              HasSubstr("\"2x\": must be a status"));
  EXPECT_THAT(failure_of("probe_status = []"), HasSubstr("at least one status"));
  EXPECT_THAT(failure_of("probe_host = \"a b\""), HasSubstr("must be a host"));
  EXPECT_THAT(failure_of("reload = \"rolled\""), HasSubstr("must be whole or rolling"));
}

TEST_F(LoadSettings, NamesAMistypedVariable) {
  sources_.command_line["app"] = {"a"};
  set_environment({{"GREEN_WORKRES", "4"}});
  EXPECT_EQ(failure(), "environment GREEN_WORKRES: unknown setting; did you mean GREEN_WORKERS?");
  set_environment({{"GREEN_WORKERS", "many"}});
  EXPECT_THAT(failure(), HasSubstr("environment GREEN_WORKERS=many: must be a whole number"));
}

TEST_F(LoadSettings, LeavesVariablesOfOthersAlone) {
  sources_.command_line["app"] = {"a"};
  set_environment({{"GREEN_BUS", "user"},
                   {"GREEN_SERVICE_HOST", "10.0.0.1"},
                   {"GREEN_PORT", "tcp://10.0.0.1:80"}});
  EXPECT_EQ(failure(), "(no failure)");
}

TEST_F(LoadSettings, RefusesAScalarGivenTwice) {
  sources_.command_line = {{"app", {"a"}}, {"workers", {"2", "3"}}};
  EXPECT_EQ(failure(), "--workers: was given more than once");
}

TEST_F(LoadSettings, RefusesTextThatIsNotUtf8) {
  sources_.command_line = {{"app", {"a"}}, {"chdir", {"/\xff"}}};
  EXPECT_THAT(failure(), HasSubstr("must be UTF-8"));
  sources_.command_line = {{"app", {"a"}}, {"env", {"A=\xed\xa0\x80"}}};
  EXPECT_THAT(failure(), HasSubstr("--env: must be UTF-8"));
}

TEST_F(LoadSettings, NeverShowsASecret) {
  for (const char* line :
       {"env = { KEY = 12345 }", "env = { \"a b\" = \"12345\" }", "env = \"12345\"",
        "env = [\"12345\"]", "env = { KEY = \"12345\" \n", "[env]\nKEY = t12345"})
    EXPECT_THAT(failure_of(line),
                testing::AllOf(Not(HasSubstr("12345")), Not(HasSubstr("no failure"))))
        << line;
  EXPECT_THAT(failure_of("env = { KEY = 1 }"),
              EndsWith(":2: env: KEY must be a string: put its value in quotes"));
  sources_.command_line["env"] = {"12345"};
  write_file("app = \"a\"\n");
  EXPECT_EQ(failure(), "--env: each entry must be NAME=VALUE");
  sources_.command_line.clear();
  set_environment({{"GREEN_ENV", "1=12345"}});
  EXPECT_EQ(failure(),
            "environment GREEN_ENV: \"1\" is no variable's name: letters, digits and _ only");
}

TEST_F(LoadSettings, ShowsNoControlCharacterOfAValue) {
  sources_.command_line["app"] = {"a\x1b[31m\nforged: line"};
  EXPECT_THAT(failure(), HasSubstr("a\\x1b[31m\\x0aforged"));
}

}  // namespace
}  // namespace green
