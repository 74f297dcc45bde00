// stepback completion bash|zsh|fish: scripts made from the parser's own tree, so that they never miss a
// command.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <memory>

#include "client/cli/commands.h"

namespace stepback::cli {
namespace {

struct Node {
  std::string path;                // "model create"; "" is the program
  std::vector<std::string> words;  // subcommands and options
};

void AddOptions(const CLI::App* app, std::vector<std::string>* words) {
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) words->push_back(fmt::format("--{}", name));
  }
}

void Collect(const CLI::App* app, const std::string& path, const std::vector<std::string>& global,
             std::vector<Node>* nodes) {
  Node node{.path = path};
  for (const CLI::App* child : app->get_subcommands(nullptr)) node.words.push_back(child->get_name());
  AddOptions(app, &node.words);
  if (!path.empty()) node.words.insert(node.words.end(), global.begin(), global.end());
  nodes->push_back(node);
  for (const CLI::App* child : app->get_subcommands(nullptr)) {
    Collect(child, path.empty() ? child->get_name() : path + " " + child->get_name(), global, nodes);
  }
}

// The words typed so far that are no options, as far as they are a command: the longest known path.
std::string Bash(const std::vector<Node>& nodes) {
  std::string cases;
  for (const Node& node : nodes)
    cases += fmt::format("    '{}') words='{}' ;;\n", node.path, fmt::format("{}", fmt::join(node.words, " ")));
  std::string paths;
  for (const Node& node : nodes) paths += fmt::format("|{}", node.path);
  return fmt::format(R"(_stepback() {{
  local word path='' words='' known='{}|'
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    [[ $word == -* ]] && continue
    local longer="${{path:+$path }}$word"
    [[ $known == *"|$longer|"* ]] && path=$longer
  done
  case "$path" in
{}  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
  [[ ${{#COMPREPLY[@]}} -eq 0 ]] && COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _stepback stepback
)",
                     paths, cases);
}

std::string Zsh(const std::vector<Node>& nodes) {
  return "#compdef stepback\nautoload -U +X bashcompinit && bashcompinit\n" + Bash(nodes);
}

std::string Fish(const std::vector<Node>& nodes) {
  std::string out = "complete -c stepback -f\n";
  for (const Node& node : nodes) {
    std::string condition = "__fish_use_subcommand";
    if (!node.path.empty()) {
      condition.clear();
      std::string word;
      for (const char c : node.path + " ") {
        if (c != ' ') {
          word += c;
          continue;
        }
        condition +=
            (condition.empty() ? "" : "; and ") + fmt::format("__fish_seen_subcommand_from {}", word);
        word.clear();
      }
    }
    out += fmt::format("complete -c stepback -n '{}' -a '{}'\n", condition, fmt::format("{}", fmt::join(node.words, " ")));
  }
  return out;
}

absl::Status Print(const CLI::App* app, const std::string& shell) {
  std::vector<std::string> global;
  AddOptions(app, &global);
  std::vector<Node> nodes;
  Collect(app, "", global, &nodes);
  std::cout << (shell == "bash" ? Bash(nodes) : shell == "zsh" ? Zsh(nodes) : Fish(nodes));
  return absl::OkStatus();
}

}  // namespace

void AddCompletionCommand(CLI::App* app, Context* context) {
  const auto shell = std::make_shared<std::string>();
  CLI::App* completion = AddCommand(app, context, "completion", "Print a completion script for a shell",
                                    [=] { return Print(app, *shell); });
  completion->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace stepback::cli
