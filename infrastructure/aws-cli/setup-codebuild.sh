#!/usr/bin/env bash
# What builds on AWS CodeBuild need, once an account and region: role, bucket, log group, project, repository.
# The same call again changes nothing. What is there and does not carry our tag is left alone, and named.
set -euo pipefail

usage() {
  cat <<'TEXT'
setup-codebuild.sh [--region R] [--profile P] [--project NAME] [--bucket NAME] [--repository NAME] [--dry-run]
setup-codebuild.sh --destroy [--yes] [the same options]

  --project     default trainyard-image-builder; role and log group have names made of it
  --bucket      default trainyard-builds-ACCOUNT-REGION
  --repository  default trainyard/training; builds may push to it and to trainyard/*
  --dry-run     say what would be made
  --destroy     remove all of it, images in the repository included; without --yes it says what it would remove
Exit: 0 done, 2 wrong arguments, 4 not signed in, or AWS refused (its message is above), 5 something is there that Trainyard did not make,
6 --yes is missing, 8 there is no aws on this machine.
TEXT
}

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TAG_KEY=app.kubernetes.io/managed-by TAG_VALUE=trainyard
REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-}} PROJECT=trainyard-image-builder BUCKET='' REPOSITORY=trainyard/training
DESTROY='' YES='' DRY_RUN=''

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup-codebuild.sh: $2"; exit "$1"; }
trap 'code=$?; ((code < 252)) || exit 4' EXIT # 252 to 255 are the exits of aws

while (($#)); do
  case $1 in
    --region | --profile | --project | --bucket | --repository)
      (($# > 1)) || fail 2 "$1 wants a value; --help"
      case $1 in
        --region) REGION=$2 ;; --profile) export AWS_PROFILE=$2 ;; --project) PROJECT=$2 ;;
        --bucket) BUCKET=$2 ;; --repository) REPOSITORY=$2 ;;
      esac
      shift 2 ;;
    --destroy) DESTROY=1; shift ;;
    --yes) YES=1; shift ;;
    --dry-run) DRY_RUN=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) fail 2 "unknown option $1; --help" ;;
  esac
done

# Names go into JSON and ARNs: nothing but what AWS itself takes for them.
[[ $PROJECT =~ ^[A-Za-z0-9][A-Za-z0-9_-]{1,38}$ ]] || fail 2 "--project: 2 to 39 letters, digits, - and _"
[[ -z $BUCKET || $BUCKET =~ ^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$ ]] || fail 2 "--bucket is not a bucket's name"
[[ $REPOSITORY =~ ^[a-z0-9]+([._/-]+[a-z0-9]+)*$ && ${#REPOSITORY} -le 256 ]] || fail 2 "--repository is not a repository's name"
command -v aws >/dev/null || fail 8 "there is no AWS command line (aws) on this machine"
[[ -n $REGION ]] || REGION=$(aws configure get region || true)
[[ $REGION =~ ^[a-z]{2,4}(-[a-z]+)+-[0-9]+$ ]] || fail 2 "name the region: --region us-east-1, or set AWS_REGION"
export AWS_REGION=$REGION AWS_DEFAULT_REGION=$REGION AWS_PAGER=''

IDENTITY=$(aws sts get-caller-identity --query '[Account, Arn]' --output text) || fail 4 "not signed in: aws sso login, or set AWS_PROFILE"
read -r ACCOUNT ARN <<<"$IDENTITY"
PARTITION=$(cut -d: -f2 <<<"$ARN")
export PARTITION # render reads it by its name
BUCKET=${BUCKET:-trainyard-builds-$ACCOUNT-$REGION}
# Roles are the account's, not the region's.
ROLE=$PROJECT-$REGION
GROUP=/aws/codebuild/$PROJECT

render() { # render FILE: the document with the names of this call
  local text
  text=$(<"$HERE/codebuild/$1")
  for name in PARTITION REGION ACCOUNT PROJECT BUCKET REPOSITORY ROLE; do text=${text//@$name@/${!name}}; done
  printf '%s\n' "$text"
}

# ask WORDS...: its answer; empty and false where AWS says that it is not there. Any other refusal ends the script.
ask() {
  local answer code=0 said
  said=$(mktemp)
  answer=$(aws "$@" --output text 2>"$said") || code=$?
  if ((code == 0)); then
    rm -f "$said"; printf '%s' "$answer"; return 0
  fi
  if grep -qE '\((404|NoSuch[A-Za-z]*|[A-Za-z]*NotFound[A-Za-z]*)\)' "$said"; then
    rm -f "$said"; return 1
  fi
  say "$(<"$said")"
  rm -f "$said"
  [[ $1 != s3api ]] || say "the bucket $BUCKET is another account's, or you may not look at it: --bucket NAME for another one"
  kill -s TERM $$
  exit 4
}
trap 'exit 4' TERM

do_it() { # do_it WHAT WORDS...: says it, and does it unless it is a rehearsal
  say "${DRY_RUN:+would set: }$1"
  shift
  [[ -n $DRY_RUN ]] || aws "$@" >/dev/null
}

# has KIND: 0 ours, 1 not there, and the end of the script for somebody else's.
has() {
  local found=''
  case $1 in
    role) ask iam get-role --role-name "$ROLE" --query Role.RoleId >/dev/null || return 1
      found=$(ask iam list-role-tags --role-name "$ROLE" --query "Tags[?Key=='$TAG_KEY'].Value | [0]") || true ;;
    bucket) ask s3api head-bucket --bucket "$BUCKET" --expected-bucket-owner "$ACCOUNT" >/dev/null || return 1
      found=$(ask s3api get-bucket-tagging --bucket "$BUCKET" --query "TagSet[?Key=='$TAG_KEY'].Value | [0]") || true ;;
    log-group) found=$(ask logs describe-log-groups --log-group-name-prefix "$GROUP" --query "logGroups[?logGroupName=='$GROUP'].arn | [0]") || true
      [[ -n $found && $found != None ]] || return 1
      found=$(ask logs list-tags-for-resource --resource-arn "${found%:\*}" --query "tags.\"$TAG_KEY\"") || true ;;
    project) found=$(ask codebuild batch-get-projects --names "$PROJECT" --query "projects[0].name") || true
      [[ -n $found && $found != None ]] || return 1
      found=$(ask codebuild batch-get-projects --names "$PROJECT" --query "projects[0].tags[?key=='$TAG_KEY'].value | [0]") || true ;;
    repository) found=$(ask ecr describe-repositories --repository-names "$REPOSITORY" --query "repositories[0].repositoryArn") || return 1
      found=$(ask ecr list-tags-for-resource --resource-arn "$found" --query "tags[?Key=='$TAG_KEY'].Value | [0]") || true ;;
  esac
  [[ $found == "$TAG_VALUE" ]] && return 0
  fail 5 "the $1 of that name is there and does not carry the tag $TAG_KEY=$TAG_VALUE; it was left alone. Another name, or tag it"
}

make_role() {
  has role || do_it "role $ROLE" iam create-role --role-name "$ROLE" --assume-role-policy-document "$(render role-trust.json)" \
    --description "CodeBuild for trainyard" --tags "Key=$TAG_KEY,Value=$TAG_VALUE"
  do_it "  the role's policy" iam put-role-policy --role-name "$ROLE" --policy-name trainyard-build --policy-document "$(render role-policy.json)"
}

make_bucket() {
  local place=()
  [[ $REGION == us-east-1 ]] || place=(--create-bucket-configuration "LocationConstraint=$REGION")
  if ! has bucket; then
    do_it "bucket $BUCKET" s3api create-bucket --bucket "$BUCKET" --object-ownership BucketOwnerEnforced ${place[@]+"${place[@]}"} # bash of macOS: an empty list is unbound
    do_it "  tag" s3api put-bucket-tagging --bucket "$BUCKET" --tagging "TagSet=[{Key=$TAG_KEY,Value=$TAG_VALUE}]"
  fi
  do_it "  private" s3api put-public-access-block --bucket "$BUCKET" --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
  do_it "  encrypted" s3api put-bucket-encryption --bucket "$BUCKET" --server-side-encryption-configuration "$(render bucket-encryption.json)"
  do_it "  versioned" s3api put-bucket-versioning --bucket "$BUCKET" --versioning-configuration Status=Enabled
  do_it "  lifecycle: sources expire" s3api put-bucket-lifecycle-configuration --bucket "$BUCKET" --lifecycle-configuration "$(render bucket-lifecycle.json)"
  do_it "  TLS only" s3api put-bucket-policy --bucket "$BUCKET" --policy "$(render bucket-policy.json)"
  # Last: build_image_codebuild.py takes a bucket of ours without it for half-made.
  do_it "  ready" s3api put-bucket-tagging --bucket "$BUCKET" \
    --tagging "TagSet=[{Key=$TAG_KEY,Value=$TAG_VALUE},{Key=trainyard.dev/ready,Value=true}]"
}

make_log_group() {
  has log-group || do_it "log group $GROUP" logs create-log-group --log-group-name "$GROUP" --tags "$TAG_KEY=$TAG_VALUE"
  do_it "  kept 30 days" logs put-retention-policy --log-group-name "$GROUP" --retention-in-days 30
}

make_project() {
  if has project; then
    do_it "project $PROJECT as it should be" codebuild update-project --cli-input-json "$(render project.json)"
    return
  fi
  say "${DRY_RUN:+would set: }project $PROJECT"
  [[ -z $DRY_RUN ]] || return 0
  local left=12 said
  # CodeBuild does not know a role at once that IAM has just made.
  until said=$(aws codebuild create-project --cli-input-json "$(render project.json)" 2>&1 >/dev/null); do
    left=$((left - 1))
    if ((left == 0)) || ! grep -qE 'sts:AssumeRole|InvalidInputException.*[Rr]ole' <<<"$said"; then fail 4 "$said"; fi
    sleep 5
  done
}

make_repository() {
  has repository || do_it "repository $REPOSITORY" ecr create-repository --repository-name "$REPOSITORY" \
    --image-tag-mutability IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters \
    filterType=WILDCARD,filter=latest filterType=WILDCARD,filter='cache-*' filterType=WILDCARD,filter='build-*' \
    --image-scanning-configuration scanOnPush=true --encryption-configuration encryptionType=AES256 --tags "Key=$TAG_KEY,Value=$TAG_VALUE"
  do_it "  its lifecycle" ecr put-lifecycle-policy --repository-name "$REPOSITORY" --lifecycle-policy-text "$(render repository-lifecycle.json)"
}

remove_bucket() { # every version of every object first
  local page refused
  # shellcheck disable=SC2016  # the back-ticks are JMESPath's
  local query='{Objects: [Versions || `[]`, DeleteMarkers || `[]`][].{Key: Key, VersionId: VersionId}, Quiet: `true`}'
  while :; do
    page=$(aws s3api list-object-versions --bucket "$BUCKET" --max-keys 500 --no-paginate --output json --query "$query")
    grep -q '"Key"' <<<"$page" || break
    # An object that may not be removed is no error of the call.
    refused=$(aws s3api delete-objects --bucket "$BUCKET" --delete file:///dev/stdin --query 'Errors[0].Message' --output text <<<"$page")
    [[ $refused == None || -z $refused ]] || fail 4 "an object of the bucket $BUCKET cannot be removed: $refused"
  done
  aws s3api delete-bucket --bucket "$BUCKET" --expected-bucket-owner "$ACCOUNT"
}

remove_role() { # statements of the user's own, for secrets say, go first
  local each
  for each in $(aws iam list-role-policies --role-name "$ROLE" --query 'PolicyNames[]' --output text); do
    aws iam delete-role-policy --role-name "$ROLE" --policy-name "$each"
  done
  for each in $(aws iam list-attached-role-policies --role-name "$ROLE" --query 'AttachedPolicies[].PolicyArn' --output text); do
    aws iam detach-role-policy --role-name "$ROLE" --policy-arn "$each"
  done
  aws iam delete-role --role-name "$ROLE"
}

destroy() {
  local kind there=()
  say "in account $ACCOUNT, $REGION:"
  for kind in "project $PROJECT" "role $ROLE" "bucket $BUCKET with all sources" "log-group $GROUP" "repository $REPOSITORY with all images"; do
    if has "${kind%% *}"; then there+=("${kind%% *}"); say "  $kind"; fi
  done
  ((${#there[@]})) || { say "nothing of it is there"; return 0; }
  [[ -z $DRY_RUN ]] || return 0
  [[ -n $YES ]] || fail 6 "this would remove them; nothing was done. The same call with --yes"
  for kind in "${there[@]}"; do
    case $kind in
      project) aws codebuild delete-project --name "$PROJECT" >/dev/null ;;
      role) remove_role ;;
      bucket) remove_bucket ;;
      log-group) aws logs delete-log-group --log-group-name "$GROUP" ;;
      repository) aws ecr delete-repository --repository-name "$REPOSITORY" --force >/dev/null ;;
    esac
    say "removed: $kind"
  done
}

if [[ -n $DESTROY ]]; then
  destroy
else
  # First ask for all: nothing is made beside something that is not ours.
  for kind in role bucket log-group project repository; do has "$kind" || true; done
  make_role
  make_bucket
  make_log_group
  make_repository
  make_project
  [[ -z $DRY_RUN ]] || { say "nothing was made or changed"; exit 0; }
  say "ready: build_image_codebuild.py build FOLDER --region $REGION --project $PROJECT"
fi
