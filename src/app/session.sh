URL=http://127.0.0.1:8080
curl -sSw '\n' $URL/register --json '{"email":"ada@example.com","password":"seven otters juggle lanterns"}'
TOKENS=$(curl -sS $URL/login --json '{"email":"ada@example.com","password":"seven otters juggle lanterns"}')
ACCESS=$(printf %s "$TOKENS" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
REFRESH=$(printf %s "$TOKENS" | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')
curl -sSw '\n' $URL/me -H "Authorization: Bearer $ACCESS"
curl -sSw '\n' $URL/refresh --json "{\"refresh_token\":\"$REFRESH\"}"
curl -sSw '\n' $URL/sessions -H "Authorization: Bearer $ACCESS"
curl -sSw '%{http_code}\n' -X POST $URL/logout -H "Authorization: Bearer $ACCESS"
curl -sSw '\n' $URL/me -H "Authorization: Bearer $ACCESS"
