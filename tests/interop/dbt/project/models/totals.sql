{{ config(materialized='table') }}
select country, sum(amount) as total, count(*) as n
from {{ ref('orders_view') }}
group by country
