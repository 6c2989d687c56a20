// A session by the client that openapi-generator makes for Go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"doorward-generated/by_openapi_generator/client"
)

const (
	email    = "generator-go@example.com"
	password = "seven otters juggle lanterns"
)

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Getenv("ISSUER")}}
	api := client.NewAPIClient(configuration)
	ctx := context.Background()

	account, _, err := api.AccountsAPI.Register(ctx).Registration(*client.NewRegistration(email, password)).Execute()
	check(err)
	_, _, err = api.TokensAPI.LogIn(ctx).Login(*client.NewLogin(email, "not the password")).Execute()
	expect(code(err), "invalid_credentials")
	first, _, err := api.TokensAPI.LogIn(ctx).Login(*client.NewLogin(email, password)).Execute()
	check(err)
	refresh := client.NewRefresh()
	refresh.SetRefreshToken(first.GetRefreshToken())
	second, _, err := api.TokensAPI.Refresh(ctx).IdempotencyKey("a-key-of-this-attempt").Refresh(*refresh).Execute()
	check(err)
	expect(second.GetGeneration(), 1)
	expect(second.GetRetryWindow(), 30)
	ctx = context.WithValue(ctx, client.ContextAccessToken, second.GetAccessToken())
	me, _, err := api.AccountsAPI.Me(ctx).Execute()
	check(err)
	expect(me.GetId(), account.GetId())
	ended, err := api.TokensAPI.LogOut(ctx).Logout(*client.NewLogout()).Execute()
	check(err)
	expect(ended.StatusCode, http.StatusNoContent)
	_, _, err = api.AccountsAPI.Me(ctx).Execute()
	expect(code(err), "token_revoked")
	fmt.Println("openapi-generator for Go: works")
}

// The code of the problem document in an error.
func code(err error) string {
	var answer *client.GenericOpenAPIError
	if !errors.As(err, &answer) {
		log.Fatal(err)
	}
	problem, is := answer.Model().(client.Problem)
	if !is {
		log.Fatalf("%v: %s", err, answer.Body())
	}
	return string(problem.Code)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect[T comparable](is, wanted T) {
	if is != wanted {
		log.Fatalf("%v, not %v", is, wanted)
	}
}
